"""`hook`: a program of the user's publishes and removes each value.

What it does with other values at the name, and with the TTL, is its own affair. It is called again for a value that is
there already, and to remove one that is not there any more: both have to be success.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ci_acme import programs
from ci_acme.errors import ConfigError, DnsError
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.hooks.calls import Caller, zone_of
from ci_acme_providers.hooks.config import HookSettings
from ci_acme_providers.hooks.output import last_lines

_SHOWN: Final = 3
"""Lines of the program's output in a message; `details` has more."""


class Hook:
    """`DnsProvider` by calls of `PROGRAM present|cleanup FQDN VALUE`."""

    def __init__(self, settings: HookSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._caller = Caller(settings.parallel)

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(concurrency=Concurrency.OPAQUE)

    @property
    def where(self) -> str:
        return self._settings.program

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        return [zone_of(self._settings, name, apex)]

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        program = self._find()
        self._caller.present(
            values, lambda name, value: self._call([program, "present", f"{name}.", value], deadline), deadline
        )
        return [Placement(zone, value.name, value.value, created=True) for value in values]

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        return None

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        ours = [placement for placement in placements if placement.created]
        if ours:
            program = self._find()
            self._caller.cleanup(
                ours, lambda name, value: self._call([program, "cleanup", f"{name}.", value], deadline), deadline
            )

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """That the program is there and may be run; more cannot be known without calling it."""
        self._find()

    def _find(self) -> str:
        """The program's path. Raises `ConfigError`."""
        program = self._settings.program
        if "/" in program or os.sep in program:
            program = str(Path(program).expanduser().absolute())
        found = shutil.which(program, path=self._context.environ.get("PATH"))
        if found is not None:
            return found
        if Path(program).is_file():
            raise ConfigError(
                f"the hook {self._settings.program} may not be run", fix=f"chmod +x {self._settings.program}"
            )
        raise ConfigError(
            f"the hook {self._settings.program} is not there",
            fix="correct program of the DNS entry: a path from the working directory, or a name in PATH",
        )

    def _call(self, command: Sequence[str], deadline: Deadline) -> None:
        """One call. Raises `DnsError`, `ConfigError` if it cannot be started, and `Interrupted`."""
        settings = self._settings
        environ = programs.environment(self._context.environ, settings.environment)
        _, action, fqdn, _ = command
        words = f"the hook {settings.program} {action} {fqdn}"
        details: dict[str, Any] = {"program": settings.program, "action": action, "name": fqdn}
        try:
            finished = programs.run(command, environ, deadline=deadline.within(settings.timeout), both=True)
        except programs.NotStarted as error:
            fix = "check the program: it needs a first line like #!/bin/sh, and an interpreter that is there"
            raise ConfigError(f"the hook {settings.program} cannot be run: {error}", fix=fix) from None
        except programs.Overdue as error:
            fix = "let it end once the record is handed over (ci-acme waits for the DNS itself), or raise timeout"
            raise DnsError(f"{words} {error}", fix=fix, details=details) from None
        if finished.status == 0:
            return
        secrets = [environ[variable] for variable in settings.environment if variable in environ]
        lines = last_lines(finished, secrets)
        said = ": " + " | ".join(lines[-_SHOWN:]) if lines else ""
        details |= {"status": finished.status, "output": lines}
        raise DnsError(f"{words} {finished.how}{said}", fix=self._fix(command), details=details)

    def _fix(self, command: Sequence[str]) -> str:
        unset = [name for name in self._settings.environment if name not in self._context.environ]
        hint = f"; not set, and so not passed on: {', '.join(unset)}" if unset else ""
        return f"run it by hand: {' '.join([self._settings.program, *command[1:]])}{hint}"

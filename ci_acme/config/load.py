"""From a file, options and the environment to a `Config` with the origin of every value, or all problems at once.

Precedence: option, environment (`CI_ACME_*`), file, default. Relative paths in a configuration are relative to the
directory that the command runs in, not to the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ci_acme.config import fileless
from ci_acme.config.checks import check, fill_defaults
from ci_acme.config.document import Document, KeyPath, Mark, Origin, leaves, show_path
from ci_acme.config.expand import expand
from ci_acme.config.options import BY_NAME, read_options
from ci_acme.config.override import apply
from ci_acme.config.problems import Problem, config_error, problem
from ci_acme.config.report import translate
from ci_acme.config.schema import Config
from ci_acme.config.yaml12 import MAX_BYTES, parse
from ci_acme.dataclass import dataclass
from ci_acme.errors import ConfigError, UsageError

LOOKED_FOR: Final = ("ci-acme.yaml", ".ci-acme.yaml", ".github/ci-acme.yaml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration. `path` is its file, None for the form without one; `origins` is by dotted path
    (`dns[0].zone`); `environment` is what `${environment}` stood for.
    """

    config: Config
    path: Path | None
    origins: Mapping[str, Origin]
    environment: str | None


def find_config(explicit: str | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The config file: `--config`, `CI_ACME_CONFIG`, then the first of `LOOKED_FOR` that is in `cwd`.

    One that is named need not exist here: `load` says so.
    """
    named = explicit or environ.get("CI_ACME_CONFIG", "").strip()
    if named:
        return cwd / named
    return next((cwd / name for name in LOOKED_FOR if (cwd / name).is_file()), None)


def open_config(
    options: Mapping[str, Any], *, environ: Mapping[str, str], cwd: Path, environment: str | None
) -> Loaded:
    """The configuration of a command: without a file if `domain` is said, else of the file that is found.

    `options` has `config` beside the names of `OPTIONS`. Raises `UsageError` if both forms are asked for, `ConfigError`
    if there is neither.
    """
    explicit = options.get("config")
    named = explicit or environ.get("CI_ACME_CONFIG", "").strip()
    without_file = "domain" in read_options(options, environ)
    if without_file and named:
        raise UsageError(
            "--domain is the form without a config file, and a config file is named, too",
            fix="leave out --domain (CI_ACME_DOMAIN) or --config (CI_ACME_CONFIG)",
        )
    if without_file:
        return from_options(options, environ=environ, environment=environment)
    path = find_config(explicit, environ, cwd)
    if path is None:
        raise ConfigError(
            f"there is no config file: looked for {', '.join(LOOKED_FOR)} in {cwd}",
            fix="write one with `ci-acme config init`, name one with --config, or use --domain, --dns and --store",
            details={"looked_for": list(LOOKED_FOR), "directory": str(cwd)},
        )
    return load(path, overrides=options, environ=environ, environment=environment)


def load(path: Path, *, overrides: Mapping[str, Any], environ: Mapping[str, str], environment: str | None) -> Loaded:
    """The configuration in a file, with what options and variables override (see `override.apply`).

    Args:
        path: the file.
        overrides: parsed options by the names in `OPTIONS`.
        environ: the environment, for `CI_ACME_*` and `${env.NAME}`.
        environment: what `${environment}` stands for, a DNS label; None if it is not known.

    Raises:
        ConfigError: with all problems, `NotAvailable` if all are about what this installation does not have.
        UsageError: an option was said that is for the form without a file.
    """
    said = read_options(overrides, environ)
    for name, value in said.items():
        if value.mark.kind == "option" and not BY_NAME[name].with_file:
            raise UsageError(
                f"{BY_NAME[name].switch} is for the form without a config file",
                fix=f"leave out {BY_NAME[name].switch}, or change {path.name}",
            )
    shown = _shown(path)
    document, problems = parse(_read(path, shown), shown)
    if () not in document.blamed:
        problems += apply(document, said)
    return _finish(document, problems, path, environ, environment)


def load_text(data: bytes, name: str, *, environ: Mapping[str, str], environment: str | None) -> Loaded:
    """The configuration in `data`, which is called `name` in errors. Nothing overrides it. Raises `ConfigError`."""
    document, problems = parse(data, name)
    return _finish(document, problems, None, environ, environment)


def from_options(options: Mapping[str, Any], *, environ: Mapping[str, str], environment: str | None) -> Loaded:
    """The configuration that options and variables alone say. Arguments and errors as for `load`."""
    document, problems = fileless.build(read_options(options, environ), environ, environment)
    return _finish(document, problems, None, environ, environment, fileless.advise)


def _finish(
    document: Document,
    problems: list[Problem],
    path: Path | None,
    environ: Mapping[str, str],
    environment: str | None,
    advise: Callable[[Problem, Document], Problem] = lambda one, _: one,
) -> Loaded:
    if () in document.blamed:
        raise config_error(document.name, problems)
    problems += expand(document, environ, environment)
    fill_defaults(document)
    problems += check(document)
    config = None
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        problems += translate(error, document)
    if problems or config is None:
        raise config_error(document.name, [advise(one, document) for one in problems])
    return Loaded(config, path, _origins(config, document), environment)


def _origins(config: Config, document: Document) -> dict[str, Origin]:
    return {show_path(path): _origin(path, document) for path, _ in leaves(config.model_dump(mode="json"))}


def _origin(path: KeyPath, document: Document) -> Origin:
    place = path
    while place and place not in document.values:
        place = place[:-1]
        if isinstance(document.at(place), (dict, list)):
            return Origin("default")  # something is said above, and not this
    return document.values[place].origin if place else Origin("default")


def _shown(path: Path) -> str:
    """The path as people and CI systems want it: relative to the working directory if it is below."""
    try:
        return path.absolute().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def _read(path: Path, shown: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        reason, fix = "there is no such file", "write one with `ci-acme config init`, or correct --config"
    except IsADirectoryError:
        reason, fix = "is a directory", "name the file in it"
    except (OSError, ValueError) as error:
        reason, fix = f"cannot be read: {getattr(error, 'strerror', None) or 'not a usable path'}", "check the file"
    found = problem(Mark("file", shown), (), reason)
    raise ConfigError(f"{shown}: {reason}", fix=fix, details={"problems": [found.as_dict()]})

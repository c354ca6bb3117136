"""Whether a server serves the certificate that the stores hold for its name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from ci_acme.core.alerts import Alert, Served
from ci_acme.core.transparency import concerns_name
from ci_acme.core.watch import LedgerEvent, Watched, made_at
from ci_acme.model.material import CertificateFacts
from ci_acme.model.records import format_time

PATIENCE: Final = timedelta(hours=24)
"""How long a server may serve the certificate before: it is loaded again by somebody else."""


def judge_served(
    label: str,
    name: str,
    found: CertificateFacts | str,
    watched: Sequence[Watched],
    events: Sequence[LedgerEvent],
    now: datetime,
) -> tuple[Served, Alert | None]:
    """What a server at `label` serves for `name`: `found`, or why it did not say; and the alert about it, if any."""
    if isinstance(found, str):
        fix = "see whether the server runs and can be reached from this job"
        return Served(label, None, matches=False), Alert("source.endpoint", "warning", label, found, fix)
    mine = [one for one in watched if any(concerns_name(name, known) for known in one.spec.names)]
    same = next((one for one in mine if one.row.sha256 == found.sha256), None)
    wanted = same or next((one for one in mine if one.row.sha256 is not None), mine[0] if mine else None)
    name_of = wanted.spec.name if wanted is not None else None
    served = Served(label, name_of, same is not None, found.serial, found.not_after)
    if now >= found.not_after:
        return served, _alert("endpoint.expired", "critical", label, wanted, found, found.not_after)
    if wanted is None:
        text = f"no certificate of the config is for {name}"
        fix = "correct monitor.endpoints, or add the name to a certificate"
        return served, Alert("endpoint.name", "warning", label, text, fix)
    if same is not None or wanted.row.sha256 is None:
        return served, None
    since = made_at(wanted.row, events)
    fresh = since is not None and now - since < PATIENCE
    ours = any(event.facts.get("sha256") == found.sha256 for event in events)
    severity = "notice" if ours and fresh else "warning"
    return served, _alert("endpoint.other", severity, label, wanted, found, since)


def _alert(
    code: str, severity: str, label: str, wanted: Watched | None, found: CertificateFacts, since: datetime | None
) -> Alert:
    said = f"it serves {found.serial} of {found.issuer}, which "
    said += f"{'ended' if code == 'endpoint.expired' else 'ends'} at {format_time(found.not_after)}"
    row = wanted.row if wanted else None
    if row is not None and row.serial is not None and row.serial != found.serial:
        said += f"; the stores hold {row.serial}"
    fix = "let the server load the certificate from its store again"
    details = {"serial": found.serial, "sha256": found.sha256, "issuer": found.issuer}
    name, owner = (row.name, row.owner) if row is not None else (None, None)
    return Alert(code, severity, label, said, fix, name, owner, since, details)

"""A monitor's findings as OpenMetrics text, for whatever reads files (node_exporter's textfile collector, an agent).

Everything is a gauge with a unit of its own, so that readers of Prometheus' older text format take it, too. Times are
absolute: a file that nobody writes any more says so itself, by `ci_acme_monitor_last_run_timestamp_seconds`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from ci_acme.core.alerts import CODES, KINDS, SEVERITIES, Report
from ci_acme.core.inventory import STATES, Row

Labels = Mapping[str, str]
Samples = Iterable[tuple[Labels, float]]

FAMILIES: Final[Mapping[str, str]] = {
    "ci_acme_certificate_not_before_timestamp_seconds": "When the certificate begins to be valid.",
    "ci_acme_certificate_not_after_timestamp_seconds": "When the certificate ends.",
    "ci_acme_certificate_renewal_timestamp_seconds": "When the certificate is due for renewal.",
    "ci_acme_certificate_details": "Facts of the certificate as labels; always 1.",
    "ci_acme_certificate_state": "1 for the state that the certificate has in the inventory, 0 for the others.",
    "ci_acme_certificate_stores": "Stores of the certificate, by what they hold.",
    "ci_acme_certificate_failed_orders": "Orders that failed in a row since the last success.",
    "ci_acme_alerts": "Alerts by kind and severity; a notice does not fire.",
    "ci_acme_alert_since_timestamp_seconds": "An alert that fires, and since when; 0 where that is not known.",
    "ci_acme_endpoint_match": "Whether the server serves the certificate that the stores hold.",
    "ci_acme_endpoint_not_after_timestamp_seconds": "When the certificate ends that the server serves.",
    "ci_acme_source_errors": "Sources that could not be read, by kind.",
    "ci_acme_monitor_last_run_timestamp_seconds": "When this was written: alert on its age, too.",
}
"""Name and help of every metric family; their unit is `seconds` where the name ends so."""


def as_openmetrics(report: Report) -> str:
    """The whole exposition, with its end mark."""
    samples: dict[str, Samples] = {**_certificates(report.rows), **_findings(report)}
    samples["ci_acme_certificate_failed_orders"] = (
        ({"certificate": name}, count) for name, count in report.failing.items()
    )
    lines: list[str] = []
    for name, text in FAMILIES.items():
        lines += [f"# TYPE {name} gauge", f"# HELP {name} {_help(text)}"]
        if name.endswith("_seconds"):
            lines.insert(len(lines) - 1, f"# UNIT {name} seconds")
        unique: dict[tuple[tuple[str, str], ...], float] = {}
        for labels, value in samples[name]:  # of two with the same labels the first one stays: that of the config
            unique.setdefault(tuple(sorted(labels.items())), value)
        lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in unique.items()]
    return "\n".join([*lines, "# EOF"]) + "\n"


def write(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader never sees half of it. Raises `OSError`."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # the collector is another user
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _certificates(rows: Sequence[Row]) -> dict[str, Samples]:
    def times(name: str) -> Samples:
        known = ((row, getattr(row, name)) for row in rows)
        return [(_who(row), _seconds(value)) for row, value in known if isinstance(value, datetime)]

    stores = Counter((row, place.state) for row in rows for place in row.stores)
    return {
        "ci_acme_certificate_not_before_timestamp_seconds": times("not_before"),
        "ci_acme_certificate_not_after_timestamp_seconds": times("not_after"),
        "ci_acme_certificate_renewal_timestamp_seconds": times("renew_after"),
        "ci_acme_certificate_details": [({**_who(row), **_facts(row)}, 1) for row in rows],
        "ci_acme_certificate_state": [
            ({**_who(row), "state": state}, float(row.state == state)) for row in rows for state in STATES
        ],
        "ci_acme_certificate_stores": [({**_who(row), "state": state}, n) for (row, state), n in stores.items()],
    }


def _findings(report: Report) -> dict[str, Samples]:
    counts = Counter((alert.kind, alert.severity) for alert in report.alerts)
    sources = [code for code, (kind, _) in CODES.items() if kind == "source" and code != "source.empty"]
    down = Counter(alert.code for alert in report.alerts)
    return {
        "ci_acme_alerts": [
            ({"alert": kind, "severity": severity}, counts[kind, severity]) for kind in KINDS for severity in SEVERITIES
        ],
        "ci_acme_alert_since_timestamp_seconds": [
            (
                {
                    "alert": alert.kind,
                    "code": alert.code,
                    "severity": alert.severity,
                    "certificate": alert.certificate or "",
                    "subject": alert.subject,
                    "owner": alert.owner or "",
                },
                _seconds(alert.since) if alert.since else 0,
            )
            for alert in report.alerts
            if alert.fires
        ],
        "ci_acme_endpoint_match": [({"address": one.address}, float(one.matches)) for one in report.endpoints],
        "ci_acme_endpoint_not_after_timestamp_seconds": [
            ({"address": one.address}, _seconds(one.not_after)) for one in report.endpoints if one.not_after
        ],
        "ci_acme_source_errors": [({"source": code.partition(".")[2]}, down[code]) for code in sources],
        "ci_acme_monitor_last_run_timestamp_seconds": [({}, _seconds(report.at))],
    }


def _who(row: Row) -> Labels:
    """What tells a certificate from all others: its name here, and the first name in it (environments share a name)."""
    return {"certificate": row.name, "domain": row.names[0] if row.names else "", "owner": row.owner or ""}


def _facts(row: Row) -> Labels:
    return {
        "authority": row.authority or "",
        "issuer": row.issuer or "",
        "serial": row.serial or "",
        "key": row.key or "",
        "profile": row.profile or "",
    }


def _labels(labels: Sequence[tuple[str, str]]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_value(value)}"' for name, value in labels) + "}"


def _value(text: str) -> str:
    """As both formats escape it; other line ends and lone surrogates would end the line or the file."""
    plain = text.encode("utf-8", errors="replace").decode("utf-8")
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return "".join(c if c.isprintable() else " " for c in escaped)


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _seconds(time: datetime) -> int:
    """Whole seconds, as every document of ours has them."""
    return int(time.timestamp())

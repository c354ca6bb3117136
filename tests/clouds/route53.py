"""Route 53 on loopback, as its documentation describes it: batches are carried out whole or not at all.

Wording of refusals is that of replies which users have posted; where none was found, it is ours. Zones that are
`served` are also on a real name server, where records appear once a change is in sync.
"""

from __future__ import annotations

import json
import random
import re
import string
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds import aws_wire
from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.iam import Accounts, Principal

MODEL = aws_wire.service("route53")
DELEGATION = ("ns-1.awsdns-01.com", "ns-2.awsdns-02.net", "ns-3.awsdns-03.org", "ns-4.awsdns-04.co.uk")
NAMES, TYPES, ACTIONS = (
    f"route53:ChangeResourceRecordSets{what}" for what in ("NormalizedRecordNames", "RecordTypes", "Actions")
)
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "route53:*", "Resource": "*"}]}
)
_ROUTING = (
    "Weight",
    "Region",
    "Failover",
    "MultiValueAnswer",
    "GeoLocation",
    "GeoProximityLocation",
    "CidrRoutingConfig",
)
RecordSet = dict[str, Any]
Key = tuple[str, str, str]


@dataclass
class HostedZone:
    """A zone; its sets are by sort key, type and SetIdentifier. Names are as Route 53 keeps them (`\\052.x.`)."""

    id: str
    name: str
    private: bool
    nameservers: tuple[str, ...]
    served: bool
    sets: dict[Key, RecordSet] = field(default_factory=dict)
    busy: threading.Lock = field(default_factory=threading.Lock)

    def listing(self) -> list[RecordSet]:
        return [self.sets[key] for key in sorted(self.sets)]

    def texts(self, name: str) -> dict[str, int]:
        """The TXT values at a name, each with its TTL."""
        return {
            _plain_text(record["Value"]): record_set["TTL"]
            for record_set in self.listing()
            if (record_set["Name"], record_set["Type"]) == (normalize(name), "TXT")
            for record in record_set["ResourceRecords"]
        }


@dataclass
class Pending:
    """A change under way: in sync after so many more polls."""

    zone: HostedZone
    names: set[str]
    polls: int


class FakeRoute53(FakeApi):
    """One account. `polls` is how often a change is PENDING; after `seconds` it is in the DNS all the same. `rate` is
    how many calls a second are let in, None for all.

    `work` is how long a change excludes others of its zone; `older` makes refused batches look as they did long ago.
    `now` is what STS and signatures take for the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self.admin = self.accounts.user(POLICY)
        self.zones: dict[str, HostedZone] = {}
        self.changes: dict[str, Pending] = {}
        self.batches: list[list[dict[str, Any]]] = []
        self.polls = 0
        self.seconds = 1.0
        self.rate: int | None = None
        self.work = 0.0
        self.older = False
        self.protected: set[str] = set()
        self.now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
        self._let_in: list[float] = []
        self._dns: SandboxDns | None = None

    # --- what tests and neighbours do by hand

    def zone(self, name: str, *, private: bool = False, served: bool = True) -> HostedZone:
        """Create a hosted zone."""
        zone_id = "Z" + "".join(random.choices(string.ascii_uppercase + string.digits, k=13))
        made = HostedZone(zone_id, normalize(name), private, () if private else DELEGATION, served and not private)
        for record_set in (
            _record_set(name, "NS", 172800, DELEGATION),
            _record_set(name, "SOA", 900, ["ns. h. 1 2 3 4 5"]),
        ):
            made.sets[_key(record_set)] = record_set
        self.zones[zone_id] = made
        return made

    def serve(self) -> SandboxDns:
        """A real name server with the zones there are so far; enter it."""
        self._dns = SandboxDns([zone.name.rstrip(".") for zone in self.zones.values() if zone.served])
        return self._dns

    def plant(self, zone: HostedZone, record_set: RecordSet) -> None:
        """Put a set there as it is."""
        with self.lock:
            zone.sets[_key(record_set)] = record_set
            self._publish(zone, {record_set["Name"]})

    def merge(self, zone: HostedZone, name: str, value: str, ttl: int) -> None:
        """Add a value to the simple set at a name, as a neighbour would."""
        with self.lock:
            old = zone.sets.get((sort_key(normalize(name)), "TXT", ""), {"ResourceRecords": []})
            texts = [record["Value"] for record in old["ResourceRecords"]]
            self.plant(zone, _record_set(name, "TXT", ttl, [*texts, f'"{value}"']))

    def operations(self) -> list[str]:
        """What was asked of Route 53, in order."""
        return list(aws_wire.operations(self.calls, MODEL))

    # --- the API

    def handle(self, call: Call) -> Answer:
        if call.path == "/":
            return self.accounts.sts(call, self.url, self.now())
        principal = self.accounts.identify(call, self.url, self.now())
        if isinstance(principal, Answer):
            return principal
        if not self._let():
            return aws_wire.error(MODEL, 400, "Throttling", "Rate exceeded")
        name, parameters = aws_wire.read_rest_xml(MODEL, call)
        refusal = self._denied(principal, name, parameters)
        if refusal is not None:
            return aws_wire.error(MODEL, 403, "AccessDenied", refusal)
        result = getattr(self, f"_{name}")(parameters)
        return result if isinstance(result, Answer) else aws_wire.answer(MODEL, name, result)

    def _let(self) -> bool:
        with self.lock:
            now = time.monotonic()
            self._let_in = [at for at in self._let_in if now - at < 1.0]
            if self.rate is not None and len(self._let_in) >= self.rate:
                return False
            self._let_in.append(now)
            return True

    def _denied(self, principal: Principal, name: str, parameters: Mapping[str, Any]) -> str | None:
        resource = "*"
        context: dict[str, list[str]] = {}
        if name == "GetChange":
            resource = f"arn:aws:route53:::change/{parameters['Id']}"
        elif name != "ListHostedZonesByName":
            zone_id = parameters.get("HostedZoneId") or parameters["Id"]
            resource = f"arn:aws:route53:::hostedzone/{zone_id}"
        if name == "ChangeResourceRecordSets":
            changes = parameters["ChangeBatch"]["Changes"]
            sets = [change["ResourceRecordSet"] for change in changes]
            context = {
                NAMES: sorted({normalize(one["Name"]).rstrip(".") for one in sets}),
                TYPES: sorted({one["Type"] for one in sets}),
                ACTIONS: sorted({change["Action"] for change in changes}),
            }
        return principal.refusal(f"route53:{name}", resource, context)

    def _ListHostedZonesByName(self, wanted: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        most = int(wanted.get("MaxItems", "100"))
        assert most <= 100
        start = (sort_key(normalize(wanted.get("DNSName", ""))), wanted.get("HostedZoneId", ""))
        listed = sorted(self.zones.values(), key=lambda zone: (sort_key(zone.name), zone.id))
        rest = [zone for zone in listed if (sort_key(zone.name), zone.id) >= start] if "DNSName" in wanted else listed
        page, more = rest[:most], rest[most:]
        result = {"HostedZones": [_described(zone) for zone in page], "IsTruncated": bool(more), "MaxItems": str(most)}
        if "DNSName" in wanted:
            result["DNSName"] = normalize(wanted["DNSName"])
        if more:
            result |= {"NextDNSName": more[0].name, "NextHostedZoneId": more[0].id}
        return result

    def _GetHostedZone(self, wanted: Mapping[str, Any]) -> dict[str, Any] | Answer:  # noqa: N802
        zone = self.zones.get(wanted["Id"])
        if zone is None:
            return _no_zone(wanted["Id"])
        result: dict[str, Any] = {"HostedZone": _described(zone)}
        if zone.nameservers:
            result["DelegationSet"] = {"NameServers": list(zone.nameservers)}
        return result

    def _ListResourceRecordSets(self, wanted: Mapping[str, Any]) -> dict[str, Any] | Answer:  # noqa: N802
        zone = self.zones.get(wanted["HostedZoneId"])
        if zone is None:
            return _no_zone(wanted["HostedZoneId"])
        most = min(int(wanted.get("MaxItems", "300")), 300)
        start = (
            sort_key(normalize(wanted.get("StartRecordName", ""))),
            wanted.get("StartRecordType", ""),
            wanted.get("StartRecordIdentifier", ""),
        )
        with self.lock:
            rest = [zone.sets[key] for key in sorted(zone.sets) if "StartRecordName" not in wanted or key >= start]
        page, more = rest[:most], rest[most:]
        result: dict[str, Any] = {"ResourceRecordSets": page, "IsTruncated": bool(more), "MaxItems": str(most)}
        if more:
            result |= {"NextRecordName": more[0]["Name"], "NextRecordType": more[0]["Type"]}
            if "SetIdentifier" in more[0]:
                result["NextRecordIdentifier"] = more[0]["SetIdentifier"]
        return result

    def _GetChange(self, wanted: Mapping[str, Any]) -> dict[str, Any] | Answer:  # noqa: N802
        with self.lock:
            pending = self.changes.get(wanted["Id"])
            if pending is None:
                text = f"Could not find resource with ID: {wanted['Id']}"
                return aws_wire.error(MODEL, 404, "NoSuchChange", text)
            pending.polls -= 1
            if pending.polls < 0:
                self._publish(pending.zone, pending.names)
            status = "INSYNC" if pending.polls < 0 else "PENDING"
        return {"ChangeInfo": _change_info(wanted["Id"], status)}

    def _ChangeResourceRecordSets(self, wanted: Mapping[str, Any]) -> dict[str, Any] | Answer:  # noqa: N802
        zone = self.zones.get(wanted["HostedZoneId"])
        if zone is None:
            return _no_zone(wanted["HostedZoneId"])
        if not zone.busy.acquire(blocking=False):
            text = "The request was rejected because Route 53 was still processing a prior request."
            return aws_wire.error(MODEL, 400, "PriorRequestNotComplete", text)
        try:
            if self.work:
                time.sleep(self.work)
            changes = wanted["ChangeBatch"]["Changes"]
            with self.lock:
                problems, sets = self._apply(zone, changes)
                if problems:
                    return self._refused(problems)
                zone.sets = sets
                self.batches.append(changes)
                change_id = "C" + "".join(random.choices(string.ascii_uppercase + string.digits, k=20))
                names = {normalize(change["ResourceRecordSet"]["Name"]) for change in changes}
                self.changes[change_id] = Pending(zone, names, self.polls)
                if not self.polls:
                    self._publish(zone, names)
                elif self._dns is not None:  # it comes to the servers whether anybody asks or not
                    later = threading.Timer(self.seconds, self._publish, (zone, names))
                    later.daemon = True
                    later.start()
        finally:
            zone.busy.release()
        return {"ChangeInfo": _change_info(change_id, "PENDING")}

    def _refused(self, problems: Sequence[str]) -> Answer:
        if not self.older:
            return aws_wire.error(MODEL, 400, "InvalidChangeBatch", f"[{', '.join(problems)}]")
        messages = "".join(f"<Message>{problem}</Message>" for problem in problems)
        body = (
            '<?xml version="1.0"?><InvalidChangeBatch xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Messages>'
            f"{messages}</Messages><RequestId>1</RequestId></InvalidChangeBatch>"
        )
        return Answer(400, body.encode(), {"Content-Type": "text/xml"})

    def _apply(self, zone: HostedZone, changes: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[Key, RecordSet]]:
        """All problems of a batch, and the sets after it."""
        sets = dict(zone.sets)
        problems = list(_limits(changes))
        deleted: set[Key] = set()
        for change in changes:
            record_set = {**change["ResourceRecordSet"], "Name": normalize(change["ResourceRecordSet"]["Name"])}
            key = _key(record_set)
            found = list(self._problems(zone, sets, change["Action"], record_set, key))
            if change["Action"] == "DELETE" and key in deleted:
                found.append(f"The request contains an invalid set of changes for {_label(record_set)}")
            problems += found
            if found:
                continue
            if change["Action"] == "DELETE":
                deleted.add(key)
                del sets[key]
            else:
                sets[key] = record_set
        return problems, sets

    def _problems(
        self, zone: HostedZone, sets: Mapping[Key, RecordSet], action: str, record_set: RecordSet, key: Key
    ) -> Iterator[str]:
        name, rtype = record_set["Name"], record_set["Type"]
        if name != zone.name and not name.endswith(f".{zone.name}"):
            yield f"RRSet with DNS name {name} is not permitted in zone {zone.name}"
            return
        if f"{name}{rtype}" in self.protected:
            yield f"RRSet with DNS name {name}, type {rtype} is protected from changes: kept for the auditors"
            return
        yield from _malformed(record_set)
        old = sets.get(key)
        if action == "DELETE":
            tried = f"Tried to delete resource record set {_label(record_set)} but"
            if old is None:
                yield f"{tried} it was not found"
            elif _comparable(old) != _comparable(record_set):
                yield f"{tried} the values provided do not match the current values"
            return
        if action == "CREATE" and old is not None:
            yield f"Tried to create resource record set {_label(record_set)} but it already exists"
            return
        yield from _unlike(sets, record_set, key)

    def _publish(self, zone: HostedZone, names: set[str]) -> None:
        """Bring names to the real name server."""
        if self._dns is None or not zone.served:
            return
        for name in names:
            sets = [one for one in zone.listing() if (one["Name"], one["Type"]) == (name, "TXT")]
            texts = [record["Value"] for one in sets for record in one["ResourceRecords"]]
            if texts:
                self._dns.add(name, "TXT", *texts, ttl=sets[0]["TTL"])
            else:
                self._dns.remove(name, "TXT")


# --- rules


def _limits(changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    records = characters = 0
    for change in changes:
        values = [record["Value"] for record in change["ResourceRecordSet"].get("ResourceRecords", ())]
        times = 2 if change["Action"] == "UPSERT" else 1
        records += times * len(values)
        characters += times * sum(map(len, values))
    if records > 1000:
        yield "Number of records limit of 1000 exceeded."
    if characters > 32000:
        yield "Number of characters limit of 32000 exceeded."


def _malformed(record_set: RecordSet) -> Iterator[str]:
    alias = "AliasTarget" in record_set
    if alias in {"TTL" in record_set, "ResourceRecords" in record_set}:
        yield "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords]]"
    if ("SetIdentifier" in record_set) != any(key in record_set for key in _ROUTING):
        yield f"Invalid request: a SetIdentifier and a routing policy belong together: {_label(record_set)}"
    values = [record["Value"] for record in record_set.get("ResourceRecords", ())]
    if len(set(values)) != len(values):
        yield f"Duplicate Resource Record: '{values}'"
    if record_set["Type"] != "TXT":
        return
    fatal = "Invalid Resource Record: 'FATAL problem: "
    for value in values:
        if not re.fullmatch(r'"(?:[^"\\]|\\.)*"(?: "(?:[^"\\]|\\.)*")*', value):
            how = "Value should be enclosed in quotation marks"
            yield f"{fatal}InvalidCharacterString ({how}) encountered with '{value}''"
        elif any(len(_decoded(part)) > 255 for part in re.findall(r'"((?:[^"\\]|\\.)*)"', value)):
            yield f"{fatal}CharacterStringTooLong (Value is too long) encountered with '{value}''"
        elif len(value) > 4000:
            yield f"{fatal}TXTRDATATooLong encountered with '{value}''"


def _unlike(sets: Mapping[Key, RecordSet], record_set: RecordSet, key: Key) -> Iterator[str]:
    """What cannot stand beside the others at its name."""
    there = [one for other, one in sets.items() if other[0] == key[0] and other != key]
    identifier = record_set.get("SetIdentifier")
    start = (
        f"RRSet with DNS name {record_set['Name']}, type {record_set['Type']}, SetIdentifier "
        f"{'null' if identifier is None else identifier} cannot be created"
    )
    for one in there:
        if (one["Type"] == "CNAME") != (record_set["Type"] == "CNAME"):
            yield (
                f"RRSet of type {record_set['Type']} with DNS name {record_set['Name']} is not permitted because a "
                f"conflicting RRSet of type {one['Type']} with the same DNS name already exists in zone"
            )
        elif one["Type"] == record_set["Type"] and identifier is None:
            yield f"{start} as other RRSets exist with the same name and type."
        elif one["Type"] == record_set["Type"] and "MultiValueAnswer" in record_set and "MultiValueAnswer" not in one:
            yield f"{start} because a non multivalue answer rrset exists with the same name and type."
        elif one["Type"] == record_set["Type"] and "MultiValueAnswer" not in record_set and "MultiValueAnswer" in one:
            yield f"{start} because a multivalue answer rrset exists with the same name and type."


# --- names and sets


def normalize(name: str) -> str:
    """As Route 53 keeps it: lower case, octal, with the trailing dot. What is escaped already stays."""
    if not name:
        return ""
    text = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), name.rstrip("."))
    return "".join(c if re.match(r"[a-z0-9._-]", c) else f"\\{ord(c):03o}" for c in text.lower()) + "."


def sort_key(name: str) -> str:
    """Labels reversed, with the trailing dot."""
    return ".".join(reversed(name.rstrip(".").split("."))) + "." if name else ""


def _key(record_set: RecordSet) -> Key:
    return sort_key(record_set["Name"]), record_set["Type"], record_set.get("SetIdentifier", "")


def _record_set(name: str, rtype: str, ttl: int, values: Sequence[str]) -> RecordSet:
    records = [{"Value": value} for value in values]
    return {"Name": normalize(name), "Type": rtype, "TTL": ttl, "ResourceRecords": records}


def multivalue(name: str, identifier: str, value: str, ttl: int) -> RecordSet:
    """A multivalue record, for tests to plant."""
    made = _record_set(name, "TXT", ttl, [f'"{value}"'])
    return {**made, "SetIdentifier": identifier, "MultiValueAnswer": True}


def _comparable(record_set: RecordSet) -> Any:
    return {**record_set, "ResourceRecords": sorted(record["Value"] for record in record_set["ResourceRecords"])}


def _label(record_set: RecordSet) -> str:
    identifier = record_set.get("SetIdentifier")
    more = f", set identifier='{identifier}'" if identifier is not None else ""
    return f"[name='{record_set['Name']}', type='{record_set['Type']}'{more}]"


def _plain_text(value: str) -> str:
    return "".join(_decoded(part) for part in re.findall(r'"((?:[^"\\]|\\.)*)"', value))


def _decoded(text: str) -> str:
    return re.sub(r"\\([0-3][0-7]{2}|.)", lambda m: chr(int(m[1], 8)) if len(m[1]) == 3 else m[1], text)


def _described(zone: HostedZone) -> dict[str, Any]:
    return {
        "Id": f"/hostedzone/{zone.id}",
        "Name": zone.name,
        "CallerReference": f"reference of {zone.id}",
        "Config": {"PrivateZone": zone.private},
        "ResourceRecordSetCount": len(zone.sets),
    }


def _change_info(change_id: str, status: str) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return {"Id": f"/change/{change_id}", "Status": status, "SubmittedAt": at}


def _no_zone(zone_id: str) -> Answer:
    return aws_wire.error(MODEL, 404, "NoSuchHostedZone", f"No hosted zone found with ID: {zone_id}")

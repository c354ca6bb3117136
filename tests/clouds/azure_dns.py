"""Azure Resource Manager for DNS zones, strict: ETags, limits, locks, roles; its zones are served over real DNS.

Answers look as the recorded ones do (API version 2018-05-01): bare errors of the DNS provider, wrapped ones of the
Resource Manager, unquoted ETags, the counters of the rate limits as headers.
"""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.azure_rbac import Access, Assignment
from tests.clouds.entra import CLIENT, Entra

SUBSCRIPTION = "99999999-8888-7777-6666-555555555555"
GROUP = "dns"
SERVERS = ("ns1-05.azure-dns.com.", "ns2-05.azure-dns.net.", "ns3-05.azure-dns.org.", "ns4-05.azure-dns.info.")
RESOURCE = "https://management.azure.com"
_SUBSCRIPTION_PATH = re.compile(r"/subscriptions/(?P<subscription>[^/]+)(?P<rest>/.*)\Z")
_ZONES = re.compile(r"(?:/resourceGroups/(?P<group>[^/]+))?/providers/Microsoft\.Network/dnszones\Z", re.IGNORECASE)
_ZONE = re.compile(
    r"/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Network/dnszones/(?P<zone>[^/]+)"
    r"(?:/(?P<type>[A-Z]+)/(?P<name>[^/]+))?\Z",
    re.IGNORECASE,
)
_PAGE = 100


@dataclass
class Txt:
    """A record set."""

    values: list[list[str]]
    ttl: int
    etag: str = field(default_factory=lambda: str(uuid.uuid4()))
    metadata: Mapping[str, str] | None = None


@dataclass
class FakeZone:
    """A zone of a resource group. `served` says whether this one is what the name servers answer from."""

    name: str
    group: str = GROUP
    servers: Sequence[str] = SERVERS
    served: bool = True
    private: bool = False
    sets: dict[str, Txt] = field(default_factory=dict)

    @property
    def id(self) -> str:
        group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{self.group}"
        return f"{group}/providers/Microsoft.Network/dnszones/{self.name}"


class AzureDnsApi(FakeApi):
    """The management API of one subscription."""

    def __init__(self, tls: ssl.SSLContext, entra: Entra, zones: Sequence[FakeZone]) -> None:
        super().__init__(tls)
        self.entra = entra
        self.zones = list(zones)
        self.access = Access({CLIENT: [Assignment(f"/subscriptions/{SUBSCRIPTION}", ("*",))]})
        self.locked: set[str] = set()
        self.most_characters = 4096
        self.resource = RESOURCE
        served = {zone.name: _master_file(zone) for zone in zones if zone.served}
        self.dns = SandboxDns(served)

    def __enter__(self) -> AzureDnsApi:  # noqa: PYI034 - typing.Self is of Python 3.11
        super().__enter__()
        self.dns.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:  # noqa: PYI036 - handed on as they are
        self.dns.__exit__(*failure)
        super().__exit__(*failure)

    # --- what a neighbour does

    def zone(self, name: str, group: str = GROUP) -> FakeZone:
        return next(zone for zone in self.zones if (zone.name, zone.group) == (name, group))

    def plant(self, name: str, value: str, ttl: int, zone: FakeZone) -> None:
        """Add a value as somebody else would."""
        with self.lock:
            relative = name.removesuffix(f".{zone.name}")
            found = zone.sets.get(relative)
            strings = [value[start : start + 255] for start in range(0, len(value), 255)]
            values = [*(found.values if found else ()), strings]
            self._store(zone, relative, Txt(values, found.ttl if found else ttl, metadata=found and found.metadata))

    # --- the API

    def handle(self, call: Call) -> Answer:
        client = self.entra.holder(call, self.resource)
        if client is None:
            text = "Authentication failed. The 'Authorization' header is missing."
            challenge = f'Bearer authorization_uri="{self.entra.url}/{uuid.uuid4()}", error="invalid_token"'
            answer = _error("AuthenticationFailed", text, 401)
            answer.headers["WWW-Authenticate"] = challenge
            return answer
        if call.one("api-version") != "2018-05-01":
            return _error("InvalidApiVersionParameter", "The api-version is invalid.", 400)
        match = _SUBSCRIPTION_PATH.match(call.path)
        if match is None:
            return _error("InvalidSubscriptionId", "The path names no subscription.", 404)
        with self.lock:
            answer = self._within(call, client, match["subscription"], match["rest"])
        answer.headers |= {
            "Cache-Control": "private",
            "x-ms-ratelimit-remaining-subscription-resource-requests": "11999",
            "x-ms-request-id": str(uuid.uuid4()),
        }
        return answer

    def _within(self, call: Call, client: str, subscription: str, rest: str) -> Answer:
        zones, record = _ZONES.match(rest), _ZONE.match(rest)
        if zones is not None and call.method == "GET":
            refusal = self._authorize(client, "Microsoft.Network/dnszones/read", call.path.rpartition("/providers/")[0])
            return refusal or self._list(call, zones["group"])
        if record is None:
            return _error("InvalidResourceType", f"The resource type of {rest} could not be found.", 404)
        verb = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}[call.method]
        family = "dnszones" if record["type"] is None else f"dnszones/{record['type']}"
        refusal = self._authorize(client, f"Microsoft.Network/{family}/{verb}", call.path)
        if refusal is not None:
            return refusal
        if subscription != SUBSCRIPTION:
            return _error("SubscriptionNotFound", f"The subscription '{subscription}' could not be found.", 404)
        return self._about(call, record)

    def _about(self, call: Call, record: re.Match[str]) -> Answer:
        if record["group"].lower() not in {zone.group.lower() for zone in self.zones}:
            return _error("ResourceGroupNotFound", f"Resource group '{record['group']}' could not be found.", 404)
        found = [
            zone
            for zone in self.zones
            if zone.name == record["zone"].lower() and zone.group.lower() == record["group"].lower()
        ]
        if not found:
            code = "ResourceNotFound" if record["type"] is None else "ParentResourceNotFound"
            text = (
                f"The Resource 'Microsoft.Network/dnszones/{record['zone']}' under resource group "
                f"'{record['group']}' was not found."
            )
            return _error(code, text, 404)
        if record["type"] is None:
            assert call.method == "GET", "nobody here changes zones"
            return Answer.of(_zone_document(found[0]))
        assert record["type"] == "TXT", "challenges are TXT records"
        return {"GET": self._get, "PUT": self._put, "DELETE": self._delete}[call.method](call, found[0], record["name"])

    def _authorize(self, client: str, action: str, scope: str) -> Answer | None:
        if self.access.allows(client, action, scope):
            return None
        text = (
            f"The client '{client}' with object id '{client}' does not have authorization to perform action '{action}' "
            f"over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your "
            "credentials."
        )
        return _error("AuthorizationFailed", text, 403)

    def _list(self, call: Call, group: str | None) -> Answer:
        zones = [zone for zone in self.zones if group is None or zone.group.lower() == group.lower()]
        start = int(call.one("$skipToken") or 0)
        document: dict[str, Any] = {"value": [_zone_document(zone) for zone in zones[start : start + _PAGE]]}
        if start + _PAGE < len(zones):
            document["nextLink"] = f"{self.url}{call.path}?api-version=2018-05-01&$skipToken={start + _PAGE}"
        return Answer.of(document)

    def _get(self, call: Call, zone: FakeZone, name: str) -> Answer:
        found = zone.sets.get(name)
        if found is None:
            return _bare(
                "NotFound", f"The resource record '{name}' does not exist in resource group '{zone.group}'.", 404
            )
        return _answer(zone, name, found, 200)

    def _put(self, call: Call, zone: FakeZone, name: str) -> Answer:
        found = zone.sets.get(name)
        refusal = _precondition(call, found)
        if refusal is not None:
            return refusal
        properties = call.json["properties"]
        new = Txt([record["value"] for record in properties.get("TXTRecords") or []], properties["TTL"])
        new.metadata = properties.get("metadata")
        wrong = self._wrong(new)
        if wrong is not None:
            return _bare("BadRequest", wrong, 400)
        self._store(zone, name, new)
        return _answer(zone, name, new, 201 if found is None else 200)

    def _wrong(self, new: Txt) -> str | None:
        """What the provider refuses in a record set."""
        if len(new.values) > 20:
            return f"The record set has {len(new.values)} records, which exceeds the maximum of 20."
        if any(len(string) > 255 for value in new.values for string in value):
            return "A string of a TXT record is longer than 255 characters."
        if sum(len(string) for value in new.values for string in value) > self.most_characters:
            return f"The TXT records have more than {self.most_characters} characters."
        if not 1 <= new.ttl <= 2147483647:
            return f"The TTL {new.ttl} is out of range."
        texts = ["".join(value) for value in new.values]
        return "The record set holds the same record twice." if len(set(texts)) < len(texts) else None

    def _delete(self, call: Call, zone: FakeZone, name: str) -> Answer:
        if any(f"{zone.id}/TXT/{name}".lower().startswith(scope.lower()) for scope in self.locked):
            text = (
                f"The scope '{zone.id}/TXT/{name}' cannot perform delete operation because following scope(s) are "
                f"locked: '{zone.id}'. Please remove the lock and try again."
            )
            return _error("ScopeLocked", text, 409)
        found = zone.sets.get(name)
        if found is None:
            return Answer(204)
        refusal = _precondition(call, found)
        if refusal is not None:
            return refusal
        self._store(zone, name, None)
        return Answer(200)

    def _store(self, zone: FakeZone, name: str, new: Txt | None) -> None:
        if new is None:
            del zone.sets[name]
        else:
            zone.sets[name] = new
        if not zone.served:
            return
        owner = zone.name if name == "@" else f"{name}.{zone.name}"
        self.dns.remove(owner, "TXT")
        if new is not None and new.values:
            texts = [" ".join(f'"{string}"' for string in value) for value in new.values]
            self.dns.add(owner, "TXT", *texts, ttl=new.ttl)


def _precondition(call: Call, found: Txt | None) -> Answer | None:
    wanted, unwanted = call.headers.get("if-match"), call.headers.get("if-none-match")
    if unwanted == "*" and found is not None:
        return _bare("PreconditionFailed", "The condition '*' in the If-None-Match header was not satisfied.", 412)
    if wanted is not None and (found is None or wanted not in ("*", found.etag)):
        now = f" The current was '{found.etag}'." if found else ""
        text = f"The condition '{wanted}' in the If-Match header was not satisfied.{now}"
        return _bare("PreconditionFailed", text, 412)
    return None


def _answer(zone: FakeZone, name: str, found: Txt, status: int) -> Answer:
    fqdn = f"{zone.name}." if name == "@" else f"{name}.{zone.name}."
    properties: dict[str, Any] = {
        "fqdn": fqdn,
        "TTL": found.ttl,
        "TXTRecords": [{"value": value} for value in found.values],
        "targetResource": {},
        "provisioningState": "Succeeded",
    }
    if found.metadata:
        properties["metadata"] = dict(found.metadata)
    document = {
        "id": f"{zone.id}/TXT/{name}",
        "name": name,
        "type": "Microsoft.Network/dnszones/TXT",
        "etag": found.etag,
        "properties": properties,
    }
    return Answer.of(document, status, ETag=found.etag)


def _zone_document(zone: FakeZone) -> dict[str, Any]:
    return {
        "id": zone.id,
        "name": zone.name,
        "type": "Microsoft.Network/dnszones",
        "etag": str(uuid.uuid4()),
        "location": "global",
        "tags": {},
        "properties": {
            "maxNumberOfRecordSets": 10000,
            "maxNumberOfRecordsPerRecordSet": None,
            "nameServers": [] if zone.private else list(zone.servers),
            "numberOfRecordSets": 2 + len(zone.sets),
            "zoneType": "Private" if zone.private else "Public",
        },
    }


def _master_file(zone: FakeZone) -> str:
    return "".join(f"@ 172800 NS {server}\n" for server in zone.servers)


def _error(code: str, message: str, status: int) -> Answer:
    """An error of the Resource Manager."""
    return Answer.of({"error": {"code": code, "message": message}}, status)


def _bare(code: str, message: str, status: int) -> Answer:
    """An error of the DNS provider."""
    return Answer.of({"code": code, "message": message}, status)

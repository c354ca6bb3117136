"""The calls of Route 53 that are used, each within a deadline, with our errors, and as the least that a role can be."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

from ci_acme.errors import CiAcmeError
from ci_acme.ports import Deadline, ProviderContext
from ci_acme_providers.aws import patience, permissions, session
from ci_acme_providers.aws.config import Route53Settings
from ci_acme_providers.aws.faults import Call, code_of, conflict_of, fault
from ci_acme_providers.aws.route53_records import Change, RecordSet, plain_name, wire_name
from ci_acme_providers.aws.route53_sweep import Start

_PAGE: Final = 300
_SHORT_PAGE: Final = 20
"""Records of a page where one name is looked for."""
_TOO_LARGE: Final = "PackedPolicyTooLarge"


class Changes:
    """The answer to a batch: the id of the change; `doubtful` if an attempt before may have been carried out."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.doubtful = False


class Route53Api:
    """A thin layer over botocore. Any thread may call."""

    def __init__(self, settings: Route53Settings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._lock = threading.Lock()
        self._clients: dict[str | None, Any] = {}
        self._scopes: list[tuple[str, frozenset[str], Sequence[str]]] = []
        self._coarse = False

    # --- zones

    def zones(self, start: Start, deadline: Deadline) -> tuple[Sequence[tuple[str, dict[str, Any]]], Start | None]:
        """A page of the hosted zones of the account, in order, from a name on."""
        parameters = {"DNSName": wire_name(start.name), "MaxItems": "100"}
        if start.more:
            parameters["HostedZoneId"] = start.more
        call = Call("ListHostedZonesByName")
        answer = self._call(permissions.finding(self._settings), call, deadline, parameters)
        following = None
        if answer.get("IsTruncated"):
            following = Start(plain_name(answer["NextDNSName"]), answer.get("NextHostedZoneId"))
        return [(plain_name(zone["Name"]), zone) for zone in answer["HostedZones"]], following

    def zone(self, zone_id: str, deadline: Deadline) -> dict[str, Any]:
        """A hosted zone with its name servers."""
        call = Call("GetHostedZone", self._arn(f"hostedzone/{zone_id}"), zone_id)
        answer = self._call(permissions.finding(self._settings), call, deadline, {"Id": zone_id})
        servers = answer.get("DelegationSet", {}).get("NameServers", ())
        return {**answer["HostedZone"], "NameServers": tuple(map(plain_name, servers))}

    # --- records

    def records(
        self, zone_id: str, names: Sequence[str], start: Start, deadline: Deadline
    ) -> tuple[Sequence[tuple[str, RecordSet]], Start | None]:
        """A page of the TXT record sets of a zone, in order, from a name on."""
        parameters: dict[str, Any] = {
            "HostedZoneId": zone_id,
            "StartRecordName": wire_name(start.name),
            "StartRecordType": "TXT",
            "MaxItems": str(_SHORT_PAGE if len(names) == 1 else _PAGE),
            **(start.more or {}),
        }
        call = Call("ListResourceRecordSets", self._arn(f"hostedzone/{zone_id}"), zone_id, names)
        answer = self._call(self._narrow(zone_id, names), call, deadline, parameters)
        following = None
        if answer.get("IsTruncated"):
            more = {"StartRecordType": answer["NextRecordType"]}
            if answer.get("NextRecordIdentifier"):
                more["StartRecordIdentifier"] = answer["NextRecordIdentifier"]
            following = Start(plain_name(answer["NextRecordName"]), more)
        sets = answer["ResourceRecordSets"]
        return [(plain_name(one["Name"]), one) for one in sets if one["Type"] == "TXT"], following

    def change(
        self, zone_id: str, names: Sequence[str], changes: Sequence[Change], deadline: Deadline, made: Changes
    ) -> None:
        """Send one batch and tell `made` of it, whatever happens. Raises `Conflict` and `CiAcmeError`."""
        call = Call("ChangeResourceRecordSets", self._arn(f"hostedzone/{zone_id}"), zone_id, names)
        batch = {"Comment": f"ci-acme {self._context.run}"[:256], "Changes": list(changes)}
        parameters = {"HostedZoneId": zone_id, "ChangeBatch": batch}
        answer = self._call(self._narrow(zone_id, names), call, deadline, parameters, made)
        made.id = str(answer["ChangeInfo"]["Id"]).rpartition("/")[2]

    def in_sync(self, zone_id: str, names: Sequence[str], change: str, deadline: Deadline) -> bool:
        """Whether all servers of Route 53 have a change; one that it does not know is over."""
        call = Call("GetChange", self._arn(f"change/{change}"), zone_id)
        answer = self._call(self._narrow(zone_id, names), call, deadline, {"Id": change})
        return answer is None or answer["ChangeInfo"]["Status"] == "INSYNC"

    # --- clients

    def _narrow(self, zone_id: str, names: Sequence[str]) -> Sequence[str]:
        """The session policies for work at these names, the narrower one first; none if no role is assumed.

        A session that may do more of the same run is used again: what is read and removed was written before.
        """
        if self._settings.role is None:
            return ()
        wanted = frozenset(names)
        with self._lock:
            for zone, scope, policies in self._scopes:
                if zone == zone_id and wanted <= scope:
                    return policies
            policies = permissions.changing(self._settings, zone_id, names)
            self._scopes.append((zone_id, wanted, policies))
            return policies

    def _call(
        self,
        policies: Sequence[str],
        call: Call,
        deadline: Deadline,
        parameters: dict[str, Any],
        made: Changes | None = None,
    ) -> Any:
        """The answer, None for a change that is not known. Raises `Conflict` and `CiAcmeError`."""
        made = made or Changes()
        deadline.clock.check()
        for index, policy in enumerate(policies if self._settings.role else (None,)):
            if index == 0 and self._coarse and len(policies) > 1:
                continue
            with patience.within(deadline) as calls:
                try:
                    return getattr(self._client(policy), _method(call.operation))(**parameters)
                except CiAcmeError:
                    raise
                except Exception as error:
                    if code_of(error) == _TOO_LARGE and index + 1 < len(policies):
                        self._coarse = True
                        continue
                    if call.operation == "GetChange" and code_of(error) in {"NoSuchChange", "InvalidInput"}:
                        return None
                    raise conflict_of(error) or fault(error, self._settings, call) from None
                finally:
                    made.doubtful = made.doubtful or calls.doubtful
        raise AssertionError("there is always a client")

    def _client(self, policy: str | None) -> Any:
        with self._lock:
            if policy not in self._clients:
                self._clients[policy] = session.client("route53", self._settings, self._context, policy=policy)
            return self._clients[policy]

    def _arn(self, what: str) -> str:
        return f"arn:{permissions.partition(self._settings)}:route53:::{what}"


def _method(operation: str) -> str:
    return {
        "ListHostedZonesByName": "list_hosted_zones_by_name",
        "GetHostedZone": "get_hosted_zone",
        "ListResourceRecordSets": "list_resource_record_sets",
        "ChangeResourceRecordSets": "change_resource_record_sets",
        "GetChange": "get_change",
    }[operation]

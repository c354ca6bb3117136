"""Parameter Store of AWS Systems Manager on loopback, as its API reference has it.

A value is at most 4 KB (8 KB in the advanced tier) and holds no `{{`; tags go with a new parameter only; a name that
was deleted cannot be used at once; an advanced parameter does not become a standard one; 100 versions are kept. The
description stays where an update names none: AWS does not say whether it does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from tests.clouds.awsjson import ACCOUNT, REGION, AwsJson, Refused

MOST_TAGS = 50
VERSIONS = 100
OWN_KEY = "alias/aws/ssm"
SIZES = {"Standard": 4096, "Advanced": 8192}


@dataclass
class Version:
    number: int
    value: str
    description: str


@dataclass
class Parameter:
    name: str
    tier: str
    kind: str
    versions: list[Version] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    key: str = OWN_KEY

    @property
    def current(self) -> Version:
        return self.versions[-1]


class Ssm(AwsJson):
    """`lag` is how many seconds a deleted name cannot be used."""

    SERVICE = IAM = "ssm"

    def __init__(self) -> None:
        super().__init__()
        self.parameters: dict[str, Parameter] = {}
        self.deleted: dict[str, float] = {}
        self.lag = 0.3

    def value(self, name: str) -> str | None:
        """What a reader gets."""
        found = self.parameters.get(name)
        return found.current.value if found else None

    def plant(self, name: str, value: str) -> None:
        """A parameter that somebody else made."""
        self.parameters[name] = Parameter(name, "Standard", "String", [Version(1, value, "")], {"team": "web"})

    def overwrite(self, name: str, value: str) -> None:
        """As somebody does who knows nothing of us: the value alone."""
        self.PutParameter({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": True})

    # --- operations

    def PutParameter(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name, overwrite = request["Name"], request.get("Overwrite", False)
        found = self.parameters.get(name)
        self._check(request, overwrite=overwrite)
        if found is not None and not overwrite:
            raise Refused("ParameterAlreadyExists", "The parameter already exists. To overwrite it, set the option.")
        if self.deleted.get(name, 0) > time.monotonic():
            raise Refused("ParameterAlreadyExists", "The parameter is being deleted.")
        tier = request.get("Tier", "Standard")
        if found is not None and found.tier == "Advanced" and tier == "Standard":
            raise Refused("ValidationException", "An advanced parameter cannot become a standard one.")
        if len(request["Value"].encode()) > SIZES[tier]:
            raise Refused(
                "ValidationException", f"Value '{request['Value']}' at 'value' exceeds {SIZES[tier]} characters."
            )
        self._use_key(request.get("KeyId", OWN_KEY))
        self.wrote()
        if found is None:
            found = self.parameters[name] = Parameter(name, tier, request.get("Type", "String"))
            found.tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}
        found.tier, found.key = tier, request.get("KeyId", found.key)
        number = found.current.number + 1 if found.versions else 1
        before = found.current.description if found.versions else ""
        found.versions.append(Version(number, request["Value"], request.get("Description", before)))
        del found.versions[:-VERSIONS]
        return {"Version": number, "Tier": tier}

    def GetParameter(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name, _, number = request["Name"].partition(":")
        found = self.parameters.get(name)
        if found is None:
            raise Refused("ParameterNotFound", "")
        version = next((v for v in found.versions if str(v.number) == (number or str(found.current.number))), None)
        if version is None:
            raise Refused("ParameterVersionNotFound", f"Systems Manager could not find version {number} of {name}.")
        self._use_key(found.key)
        assert request.get("WithDecryption"), "nobody wants the ciphertext"
        value = {"Name": name, "Type": found.kind, "Value": version.value, "Version": version.number}
        return {"Parameter": {**value, "ARN": self.arn({"Name": name}), "DataType": "text", "LastModifiedDate": 1.0}}

    def DescribeParameters(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        (wanted,) = request["ParameterFilters"]
        assert (wanted["Key"], wanted["Option"]) == ("Name", "Equals")
        if "NextToken" not in request:
            return {"Parameters": [], "NextToken": "more"}  # as it may be: best effort, and no end yet
        found = [self.parameters[name] for name in wanted["Values"] if name in self.parameters]
        return {
            "Parameters": [
                {
                    "Name": parameter.name,
                    "Type": parameter.kind,
                    "KeyId": parameter.key,
                    "Version": parameter.current.number,
                    "Tier": parameter.tier,
                    "DataType": "text",
                    **({"Description": parameter.current.description} if parameter.current.description else {}),
                }
                for parameter in found
            ]
        }

    def DeleteParameter(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if request["Name"] not in self.parameters:
            raise Refused("ParameterNotFound", "")
        self.wrote()
        del self.parameters[request["Name"]]
        self.deleted[request["Name"]] = time.monotonic() + self.lag
        return {}

    def AddTagsToResource(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        parameter = self._tagged(request)
        tags = {**parameter.tags, **{tag["Key"]: tag["Value"] for tag in request["Tags"]}}
        if len(tags) > MOST_TAGS:
            raise Refused("TooManyTagsError", f"{len(tags)} tags, {MOST_TAGS} are the most")
        self.wrote()
        parameter.tags = tags
        return {}

    def RemoveTagsFromResource(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        parameter = self._tagged(request)
        self.wrote()
        parameter.tags = {key: value for key, value in parameter.tags.items() if key not in request["TagKeys"]}
        return {}

    def ListTagsForResource(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"TagList": [{"Key": key, "Value": value} for key, value in self._tagged(request).tags.items()]}

    # --- inside

    def arn(self, request: dict[str, Any]) -> str:
        name = request.get("Name") or request.get("ResourceId") or "*"
        return f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name.lstrip('/')}" if name != "*" else "*"

    def _use_key(self, key: str) -> None:
        """Everybody in the account may use the key of AWS."""
        context = {"kms:ResourceAliases": [key]}
        if key != OWN_KEY and not self.iam.allows("kms:Decrypt", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1", context):
            raise Refused("AccessDeniedException", "The ciphertext refers to a key that you may not use.")

    def _tagged(self, request: dict[str, Any]) -> Parameter:
        assert request["ResourceType"] == "Parameter"
        found = self.parameters.get(request["ResourceId"])
        if found is None:
            raise Refused("InvalidResourceId", "The resource ID is not valid.")
        return found

    @staticmethod
    def _check(request: dict[str, Any], *, overwrite: bool) -> None:
        if overwrite and "Tags" in request:
            raise Refused("ValidationException", "Invalid request: tags and overwrite can't be used together.")
        if "{{" in request["Value"]:
            raise Refused("ValidationException", "Parameter value can't nest another parameter.")
        if request["Name"].strip("/").lower().startswith(("aws", "ssm")):
            raise Refused("AccessDeniedException", "No access to reserved parameter name.")
        if request.get("Type") != "SecureString" and "KeyId" in request:
            raise Refused("ValidationException", "KeyId is required for SecureString only.")
        if len(request.get("Tags", ())) > MOST_TAGS:
            raise Refused("TooManyTagsError", "too many tags")

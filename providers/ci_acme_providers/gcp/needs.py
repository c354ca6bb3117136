"""The permissions that each piece of work needs: for errors, for `check`, and for the roles that are printed."""

from __future__ import annotations

from typing import Final

DNS_READ: Final = ("dns.resourceRecordSets.list",)
DNS_CHANGE: Final = (
    "dns.changes.create",
    "dns.resourceRecordSets.create",
    "dns.resourceRecordSets.update",
    "dns.resourceRecordSets.delete",
)
DNS_SIGNAL: Final = ("dns.changes.get",)
DNS_GET: Final = ("dns.managedZones.get",)
DNS_LIST: Final = ("dns.managedZones.list",)
DNS_ZONE: Final = (*DNS_GET, *DNS_READ, *DNS_CHANGE, *DNS_SIGNAL)
"""On the managed zone."""

SECRET_READ: Final = ("secretmanager.secrets.get", "secretmanager.versions.get")
SECRET_WRITE: Final = (
    "secretmanager.secrets.update",
    "secretmanager.versions.add",
    "secretmanager.versions.access",
)
SECRET_CREATE: Final = ("secretmanager.secrets.create",)
SECRET_PRUNE: Final = ("secretmanager.versions.list", "secretmanager.versions.destroy")
SECRET_DELETE: Final = ("secretmanager.secrets.delete",)
SECRET_ACCESS: Final = ("secretmanager.versions.access",)

CERTIFICATE_READ: Final = ("certificatemanager.certs.get",)
CERTIFICATE_WRITE: Final = (
    "certificatemanager.certs.create",
    "certificatemanager.certs.update",
    "certificatemanager.operations.get",
)
CERTIFICATE_DELETE: Final = ("certificatemanager.certs.delete", "certificatemanager.operations.get")

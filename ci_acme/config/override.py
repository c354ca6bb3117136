"""Options and variables over a config file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_acme.config.directories import WELL_KNOWN
from ci_acme.config.document import Document
from ci_acme.config.fileless import AUTHORITY_KEYS
from ci_acme.config.options import Said
from ci_acme.config.problems import Problem, nearest, problem

_ONE_AUTHORITY = ("account_key", "eab_key_id", "eab_hmac_key", "eab_alg")


def apply(document: Document, said: Mapping[str, Said]) -> list[Problem]:
    """Say in `document` what the options and variables `said`. What only the form without a file has is not looked at.

    - `state` and `resolver` replace the file's.
    - `ca`: the only authority gets it as its `directory`. With several authorities (or if it is the only one's name and
      no well-known CA) it is the name of one, which then serves every certificate alone.
    - `email`, `agree_terms` and `ca_bundle` replace the file's in every authority.
    - `account_key` and the `eab_` options do so if there is one authority; with several they are a problem.
    - `profile` and `key` replace the file's for every certificate.
    """
    problems: list[Problem] = []
    for name, path in (("state", ("state",)), ("resolver", ("resolver", "nameservers"))):
        if name in said:
            document.put(path, said[name].value, said[name].mark)
    certificates = _names_of_mappings(document.data.get("certificates"))
    for name in ("profile", "key"):
        for certificate in certificates if name in said else ():
            document.put(("certificates", certificate, name), said[name].value, said[name].mark)
    authorities = _names_of_mappings(document.data.get("authorities"))
    if "ca" in said and authorities:
        problems += _ca(document, said["ca"], authorities, certificates)
    for name in AUTHORITY_KEYS.keys() & said.keys() - {"profile"}:
        problems += _authority_key(document, name, said[name], authorities)
    return problems


def _ca(document: Document, said: Said, authorities: list[str], certificates: list[str]) -> list[Problem]:
    word = str(said.value)
    if len(authorities) == 1 and (word not in authorities or word.lower() in WELL_KNOWN):
        document.put(("authorities", authorities[0], "directory"), word, said.mark)
        return []
    if word not in authorities:
        message = "no authority of the config has this name, and there are several"
        return [problem(said.mark, (), message, allowed=authorities, suggestion=nearest(word, authorities))]
    for certificate in certificates:
        document.put(("certificates", certificate, "authority"), [word], said.mark)
    return []


def _authority_key(document: Document, name: str, said: Said, authorities: list[str]) -> list[Problem]:
    if name in _ONE_AUTHORITY and len(authorities) > 1:
        return [problem(said.mark, (), f"is for one authority, and the config has {len(authorities)}")]
    for authority in authorities:
        document.put(("authorities", authority, *AUTHORITY_KEYS[name]), said.value, said.mark)
    return []


def _names_of_mappings(value: Any) -> list[str]:
    return [name for name, item in value.items() if isinstance(item, dict)] if isinstance(value, dict) else []

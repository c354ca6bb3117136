"""The form without a config file: the same document, said by options and variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ci_acme.config.directories import WELL_KNOWN
from ci_acme.config.document import Document, KeyPath, Mark
from ci_acme.config.options import BY_NAME, Said, split, variable
from ci_acme.config.problems import Problem, problem
from ci_acme.config.shape import is_list, is_secret, provider_model
from ci_acme.core.quirks import known_ca
from ci_acme.dataclass import replace
from ci_acme.model.names import ROOT, to_a_labels
from ci_acme.registry import names
from ci_acme.settings import Settings, StoreSettings
from ci_acme.spec import Kind

NAME: Final = "the command line"
_DEFAULT: Final = Mark("default", "")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+\Z")
_EXPANSION: Final = re.compile(r"\$\{[^}]*\}")


def build(
    said: Mapping[str, Said], environ: Mapping[str, str], environment: str | None
) -> tuple[Document, list[Problem]]:
    """The document that the options say, and what is wrong with them as options.

    Defaults: `--ca letsencrypt`; the DNS entry serves every name (zone `.`); the certificate is called as its first
    name, with `*.` as `wildcard.` and without expansions other than `${environment}`. A setting KEY of provider P that
    no option says comes from `CI_ACME_<P>_<KEY>`; for a secret, that variable holds the secret and the setting becomes
    the reference `env:CI_ACME_<P>_<KEY>`.
    """
    document = Document(NAME)
    problems: list[Problem] = []
    document.put(("version",), 1, _DEFAULT)
    _authority(document, said)
    _dns(document, said, environ, problems)
    certificate: KeyPath = ("certificates", _certificate_name(said, environment))
    domain = said.get("domain")
    if domain is None:
        problems.append(_required("domain", "a name for the certificate", ()))
        document.blamed.add(("certificates",))
    else:
        document.put((*certificate, "names"), domain.value, domain.mark)
        document.keys[certificate] = said.get("name", domain).mark
    _stores(document, certificate, said, environ, problems)
    for name, path in (
        ("key", (*certificate, "key")),
        ("state", ("state",)),
        ("resolver", ("resolver", "nameservers")),
    ):
        if name in said:
            document.put(path, said[name].value, said[name].mark)
    return document, problems


def _authority(document: Document, said: Mapping[str, Said]) -> None:
    ca = said.get("ca", Said("letsencrypt", _DEFAULT))
    known = str(ca.value).lower() in WELL_KNOWN
    path = ("authorities", str(ca.value).lower() if known else "default")
    document.put((*path, "directory"), ca.value, ca.mark)
    for name, key in AUTHORITY_KEYS.items():
        if name in said:
            document.put((*path, *key), said[name].value, said[name].mark)


_SETTING: Final = re.compile(r"(?P<dns>dns\[0\])\.(?P<key>\w+)\Z|stores\[(?P<store>\d+)\]\.(?P<name>\w+)\Z")
"""The way to a setting of a provider, as problems show it."""

AUTHORITY_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "email": ("contact",),
    "agree_terms": ("agree_terms",),
    "account_key": ("account_key",),
    "profile": ("profile",),
    "ca_bundle": ("ca_bundle",),
    "eab_key_id": ("external_account", "key_id"),
    "eab_hmac_key": ("external_account", "hmac_key"),
    "eab_alg": ("external_account", "alg"),
}
"""Options that say a key of an authority."""


def _certificate_name(said: Mapping[str, Said], environment: str | None) -> str:
    if "name" in said:
        return str(said["name"].value)
    domain = said.get("domain")
    first = str(domain.value[0]) if domain and domain.value else ""
    first = f"wildcard.{first[2:]}" if first.startswith("*.") else first
    first = _EXPANSION.sub("", first.replace("${environment}", environment or "")).strip(".")
    try:
        name = to_a_labels(first)[:200]
    except ValueError:
        name = ""
    return name if _NAME.match(name) else "default"  # the domain is a problem of its own


def _dns(document: Document, said: Mapping[str, Said], environ: Mapping[str, str], problems: list[Problem]) -> None:
    dns = said.get("dns")
    if dns is None and _validates_by_itself(said):
        return
    if dns is None:
        problems.append(_required("dns", "the DNS provider", names(Kind.DNS)))
        document.blamed.add(("dns",))
        return
    path: KeyPath = ("dns", 0)
    document.put(("dns",), [{}], dns.mark)
    document.put((*path, "provider"), dns.value, dns.mark)
    document.put((*path, "zone"), ROOT, _DEFAULT)
    model = provider_model(Kind.DNS, dns.value)
    _from_variables(document, path, model, str(dns.value), environ)
    if "dns_option" in said:
        _from_pairs(document, path, model, said["dns_option"], problems)


def _validates_by_itself(said: Mapping[str, Said]) -> bool:
    """Whether the CA is known to give no challenges."""
    word = str(said["ca"].value) if "ca" in said else ""
    known = WELL_KNOWN.get(word.lower()) or known_ca(word)
    return known.preauthorized


def _from_variables(
    document: Document, path: KeyPath, model: type[Settings] | None, provider: str, environ: Mapping[str, str]
) -> None:
    for key, field in (model.model_fields if model else {}).items():
        name = variable(provider, key)
        text = environ.get(name, "").strip()
        if key == "provider" or not text:
            continue
        value: Any = f"env:{name}" if is_secret(field) else split(text) if is_list(field) else text
        document.put((*path, key), value, Mark("environment", name))


def _from_pairs(
    document: Document, path: KeyPath, model: type[Settings] | None, said: Said, problems: list[Problem]
) -> None:
    pairs: dict[str, list[str]] = {}
    for item in said.value:
        key, equals, value = str(item).partition("=")
        if not equals or not key.strip():
            problems.append(problem(said.mark, path, "must be KEY=VALUE"))
        else:
            pairs.setdefault(key.strip().replace("-", "_"), []).append(value)
    for key, values in pairs.items():
        field = model.model_fields.get(key) if model else None
        listed = field is not None and is_list(field)
        if len(values) > 1 and not listed:
            problems.append(problem(said.mark, (*path, key), f"is given {len(values)} times and takes one value"))
        document.put((*path, key), [part for v in values for part in split(v)] if listed else values[-1], said.mark)


def _stores(
    document: Document,
    certificate: KeyPath,
    said: Mapping[str, Said],
    environ: Mapping[str, str],
    problems: list[Problem],
) -> None:
    store = said.get("store")
    path = (*certificate, "stores")
    if store is None:
        problems.append(_required("store", "a place for the certificate, as file:certs", names(Kind.STORE)))
        document.put(path, None, _DEFAULT)
        document.blamed.add(path)
        return
    document.put(path, [{} for _ in store.value], store.mark)
    for index, item in enumerate(store.value):
        provider, colon, target = str(item).partition(":")
        model = provider_model(Kind.STORE, provider)
        document.put((*path, index, "provider"), provider, store.mark)
        _from_variables(document, (*path, index), model, provider, environ)
        if colon and model is not None and issubclass(model, StoreSettings):
            document.put((*path, index, model.TARGET), target, store.mark)


def advise(one: Problem, document: Document) -> Problem:
    """How to say a setting that is required, as there is no file to write it into."""
    match = _SETTING.search(one.path)
    if match is None or not one.message.startswith("is required"):
        return one
    kind = Kind.DNS if match["dns"] else Kind.STORE
    certificate = next(iter(document.data["certificates"].values()))
    entry = document.data["dns"][0] if match["dns"] else certificate["stores"][int(match["store"])]
    key, provider = match["key"] or match["name"], str(entry.get("provider"))
    model = provider_model(kind, provider)
    field = model.model_fields.get(key) if model else None
    if field is None:
        return one
    secret = is_secret(field)
    ways = [f"set {variable(provider, key)}" + (" to the secret" if secret else "")]
    if match["dns"]:
        ways.append(f"give --dns-option {key}={'env:NAME' if secret else '…'}")
    elif model is not None and issubclass(model, StoreSettings) and key == model.TARGET:
        ways = [f"give --store {provider}:{key.upper()}"]
    return replace(one, fix=", or ".join(ways))


def _required(name: str, what: str, allowed: list[str] | tuple[str, ...]) -> Problem:
    option = BY_NAME[name]
    mark = Mark("option", option.switch)
    return problem(mark, (), f"is required without a config file: {what}", allowed=allowed)

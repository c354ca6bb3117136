"""`config init`: a commented config file from flags or answers. Asking is the command line's work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from ci_acme.config import fileless
from ci_acme.config.directories import resolve_directory
from ci_acme.config.document import Document, KeyPath
from ci_acme.config.emit import emit
from ci_acme.config.fields import email_address
from ci_acme.config.load import load_text
from ci_acme.config.options import flag_value, read_options
from ci_acme.config.problems import config_error
from ci_acme.config.shape import is_secret, model_at, provider_model
from ci_acme.dataclass import dataclass
from ci_acme.model.names import ROOT, base_name, normalize_identifier
from ci_acme.registry import catalogue
from ci_acme.spec import Kind

_EXPANSION: Final = re.compile(r"\$\{[^}]*\}")
_SECTION: Final = re.compile(r"\n(?=# [^\n]*\n(?:state|authorities|dns|resolver|certificates):)")
_HEAD: Final = """\
# Which certificates there shall be, and where. `ci-acme plan` says what `ci-acme issue` would do.
# yaml-language-server: $schema=ci-acme.schema.json
# (`ci-acme config schema > ci-acme.schema.json` gives editors completion and checks)

"""
_LATER: Final = {
    "authorities": (
        "profile: shortlived",
        "external_account: {key_id: env:EAB_KID, hmac_key: env:EAB_HMAC}",
        "ca_bundle: private-ca.pem",
    ),
    "certificates": ("owner: team-web", "renew: 30d"),
}
"""Keys that many want later, for the end of an authority and of a certificate, commented out."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something that `render` wants to know.

    `option` is an option's name (`ci_acme.config.options`), `setting` the KEY of a `dns_option`, empty for the others.
    `check` returns what is wrong with an answer, None if nothing is. `many` answers are separated by spaces; `flag`
    ones are `true` or `false`.
    """

    option: str
    text: str
    default: str
    check: Callable[[str], str | None]
    setting: str = ""
    many: bool = False
    flag: bool = False

    def answered(self, answers: Mapping[str, Any]) -> bool:
        """Whether `answers` has it."""
        if not self.setting:
            return answers.get(self.option) not in (None, "", [], ())
        return any(pair.partition("=")[0].replace("-", "_") == self.setting for pair in answers.get(self.option) or ())

    def answer(self, answers: Mapping[str, Any], text: str) -> dict[str, Any]:
        """`answers` and this one; `text` was checked."""
        value: Any = text
        if self.setting:
            value = [*(answers.get(self.option) or ()), f"{self.setting}={text}"]
        elif self.many:
            value = text.split()
        elif self.flag:
            value = _yes(text) is True
        return {**answers, self.option: value}


def questions(answers: Mapping[str, Any]) -> list[Question]:
    """The questions that `answers` leave open, in order; the DNS provider's own follow once it is chosen."""
    asked = [
        Question(
            "domain",
            "Names of the certificate, separated by spaces",
            "${environment}.preview.example.com",
            _check_domains,
            many=True,
        ),
        Question("ca", "CA: a well-known name, or the URL of its directory", "letsencrypt", _check_ca),
        Question("email", "E-mail address for the CA's notices", "", _check_email),
        Question("agree_terms", "Do you agree to the CA's terms of service (yes or no)?", "no", _flag, flag=True),
        Question("store", "Where the certificate goes, STORE:TARGET", "file:certs", _one_of(Kind.STORE)),
        Question("dns", "DNS provider", "rfc2136", _one_of(Kind.DNS)),
        *_settings(answers.get("dns")),
    ]
    return [question for question in asked if not question.answered(answers)]


def render(answers: Mapping[str, Any]) -> str:
    """A commented config file that `load` accepts.

    `answers` has options by their names (`domain`, `ca`, `email`, `agree_terms`, `dns`, `dns_option`, `store`, …); what
    they leave open has the question's default. Raises `ConfigError` if they make no valid config.
    """
    document = _document(_complete(answers))
    text = _SECTION.sub("\n\n", _HEAD + emit(document.data, above=_describer(document), below=_later(document)))
    load_text(text.encode(), "ci-acme.yaml", environ=_Anything(), environment="environment")
    return text


def _complete(answers: Mapping[str, Any]) -> dict[str, Any]:
    complete = dict(answers)
    for _ in range(2):  # the second time for the settings of the provider that the first one chose
        for question in questions(complete):
            if question.default:
                complete = question.answer(complete, question.default)
    return complete


def _document(answers: Mapping[str, Any]) -> Document:
    document, problems = fileless.build(read_options(answers, {}), {}, None)
    if problems:
        raise config_error("the answers", problems)
    certificate = next(iter(document.data["certificates"].values()))
    for entry in document.data["dns"]:
        if entry["zone"] == ROOT:
            entry["zone"] = _zone(certificate["names"])
    authority = next(iter(document.data["authorities"].values()))
    authority.setdefault("agree_terms", False)
    authority.setdefault("account_key", "file:.ci-acme/account.pem")
    certificate.setdefault("key", "ec-p256")
    return document


def _settings(provider: object) -> list[Question]:
    """A question for each setting of a DNS provider that is required or has an example."""
    model = provider_model(Kind.DNS, provider)
    return [
        Question(
            "dns_option",
            field.description or key,
            str((field.examples or [""])[0]),
            _check_reference if is_secret(field) else lambda _: None,
            setting=key,
        )
        for key, field in (model.model_fields if model else {}).items()
        if key not in ("provider", "zone") and (field.is_required() or field.examples)
    ]


def _zone(names: list[str]) -> str:
    """A suffix of all names: what they share, or the parent of a name that is alone; the root if they share nothing."""
    bases = [_EXPANSION.sub("$", base_name(name)).lower().rstrip(".").split(".")[::-1] for name in names]
    shared: list[str] = []
    for labels in zip(*bases, strict=False):
        if len(set(labels)) > 1 or "$" in labels[0]:
            break
        shared.append(labels[0])
    if shared in bases and len(shared) > 2:
        shared.pop()
    return ".".join(shared[::-1]) if len(shared) > 1 else ROOT


def _describer(document: Document) -> Callable[[KeyPath], str]:
    def describe(path: KeyPath) -> str:
        model = model_at(document.data, path[:-1])
        field = model.model_fields.get(str(path[-1])) if model else None
        return "" if field is None or path == ("version",) else field.description or ""

    return describe


def _later(document: Document) -> Callable[[KeyPath], list[str]]:
    def later(path: KeyPath) -> list[str]:
        if len(path) != 2 or path[0] not in _LATER:
            return []
        there = document.data[path[0]][path[1]]
        return [line for line in _LATER[path[0]] if line.partition(":")[0] not in there]

    return later


def _check_domains(answer: str) -> str | None:
    if not answer.split():
        return "at least one name is needed"
    return next(
        filter(None, (_reason(normalize_identifier, _EXPANSION.sub("x", name)) for name in answer.split())), None
    )


def _check_ca(answer: str) -> str | None:
    return _reason(resolve_directory, answer)


def _yes(answer: str) -> bool | None:
    return flag_value({"y": "yes", "n": "no"}.get(answer.lower(), answer))


def _check_email(answer: str) -> str | None:
    return _reason(email_address, answer) if answer else None


def _reason(function: Callable[[str], object], answer: str) -> str | None:
    try:
        function(answer)
    except ValueError as error:
        return str(error)
    return None


def _flag(answer: str) -> str | None:
    return "yes or no" if _yes(answer) is None else None


def _check_reference(answer: str) -> str | None:
    known = re.match(r"(env|file):\S", answer)
    return None if known else "a reference, env:NAME or file:PATH, and never the secret itself"


def _one_of(kind: Kind) -> Callable[[str], str | None]:
    def check(answer: str) -> str | None:
        known = sorted(name for family, name in catalogue() if family is kind)
        return None if answer.partition(":")[0] in known else f"one of {', '.join(known)}"

    return check


class _Anything(dict[str, str]):
    """An environment in which every variable is set: the file is written for another one."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return "x.example"

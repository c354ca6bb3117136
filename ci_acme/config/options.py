"""The options that say or override configuration, as data: the command line is made of them. Imports no pydantic."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ci_acme.config.document import Mark
from ci_acme.dataclass import dataclass

_SEPARATORS: Final = re.compile(r"[,\s]+")
_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Option:
    """An option `--NAME` and its variable `CI_ACME_NAME`.

    `many` may be repeated (in the variable: separated by commas or white space), `flag` takes no value, and `with_file`
    says whether it also overrides a config file; the others are for the form without one. `word` is what the command
    line calls it where that differs: a variable is read by every command, so its name says which one it is for.
    """

    name: str
    help: str
    metavar: str = ""
    many: bool = False
    flag: bool = False
    with_file: bool = True
    number: bool = False
    choices: tuple[str, ...] = ()
    word: str = ""

    @property
    def switch(self) -> str:
        """`--ca-bundle`."""
        return "--" + (self.word or self.name.replace("_", "-"))

    @property
    def variable(self) -> str:
        """`CI_ACME_CA_BUNDLE`."""
        return variable(self.name)


def variable(*parts: str) -> str:
    """The environment variable of an option, or of a provider's setting: `CI_ACME_RFC2136_SERVER`."""
    return "_".join(["CI_ACME", *(re.sub(r"[^A-Z0-9]", "_", part.upper()) for part in parts)])


OPTIONS: Final = (
    Option("domain", "a name of the certificate; the first one names it", "NAME", many=True, with_file=False),
    Option("name", "what the certificate is called here (default: its first name)", "NAME", with_file=False),
    Option("dns", "the DNS provider that solves the challenges", "PROVIDER", with_file=False),
    Option("dns_option", "a setting of the DNS provider", "KEY=VALUE", many=True, with_file=False),
    Option("store", "where the certificate goes, as file:certs", "STORE[:TARGET]", many=True, with_file=False),
    Option("ca", "the CA: a well-known name, the URL of its directory, or an authority of the config", "NAME|URL"),
    Option("ca_bundle", "the roots to trust for a private CA, PEM", "FILE"),
    Option("email", "where the CA may write to", "ADDRESS", many=True),
    Option("agree_terms", "agree to the CA's terms of service", flag=True),
    Option("account_key", "a reference to the account key", "REF"),
    Option("eab_key_id", "external account binding: the key identifier", "ID|REF"),
    Option("eab_hmac_key", "external account binding: a reference to the MAC key", "REF"),
    Option("eab_alg", "external account binding: HS256 (the default), HS384 or HS512", "ALG"),
    Option("profile", "the CA's certificate profile", "NAME"),
    Option("key", "the type of the certificate's key", "TYPE"),
    Option("resolver", "ask this server in place of the system's resolver", "HOST:PORT", many=True),
    Option("state", "what is remembered between runs", "URL"),
)
BY_NAME: Final = {option.name: option for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Said:
    """The value of an option and who said it."""

    value: Any
    mark: Mark


def read_options(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Said]:
    """What the command line and the environment say, by the option's name; the command line goes first.

    `options` maps names as in `OPTIONS` to what was parsed; other keys are of no concern here. None, False, an empty
    list and an empty string count as not said, as do empty variables: CI systems pass those for inputs left out.
    """
    said: dict[str, Said] = {}
    for option in OPTIONS:
        value = options.get(option.name)
        text = environ.get(option.variable, "").strip()
        if value not in (None, False, "", [], ()):
            said[option.name] = Said(_from_command_line(option, value), Mark("option", option.switch))
        elif text:
            said[option.name] = Said(_from_variable(option, text), Mark("environment", option.variable))
    return said


def _from_command_line(option: Option, value: Any) -> Any:
    if not option.many:
        return value
    items: Sequence[str] = [value] if isinstance(value, str) else list(value)
    if option.name in ("domain", "email", "resolver"):
        return [part for item in items for part in _SEPARATORS.split(item) if part]
    return list(items)


def _from_variable(option: Option, text: str) -> Any:
    if option.many:
        return split(text)
    if option.flag:
        value = flag_value(text)
        return text if value is None else value
    return text


def flag_value(text: str) -> bool | None:
    """What a variable of a flag says; None if it is neither a yes nor a no."""
    return True if text.lower() in _YES else False if text.lower() in _NO else None


def split(text: str) -> list[str]:
    """The items of a list in a variable."""
    return [part for part in _SEPARATORS.split(text) if part]

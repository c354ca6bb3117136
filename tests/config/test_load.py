"""Where a config comes from, who overrides whom, and what is known of each value's origin."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_acme.config.document import Origin
from ci_acme.config.load import LOOKED_FOR, Loaded, find_config, load, open_config
from ci_acme.config.options import OPTIONS, read_options
from ci_acme.errors import ConfigError, UsageError
from ci_acme.model.material import KeyType
from ci_acme.model.spec import RenewPolicy

Load = Callable[..., Loaded]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: str) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ci-acme.yaml"
    path.write_text(built)
    return path


def read(path: Path, environ: dict[str, str] | None = None, **options: Any) -> Loaded:
    return load(path, overrides=options, environ=environ or {}, environment="pr-7")


def test_the_contracts_example_with_the_providers_of_this_version(file: Path) -> None:
    config = read(file).config
    authority = config.authorities["letsencrypt"]
    assert authority.directory_url == "https://acme-v02.api.letsencrypt.org/directory"
    assert authority.contact == ("ops@example.com",)
    assert authority.account_key == "file:.ci-acme/account.pem"
    assert authority.external_account is not None
    assert authority.external_account.hmac_key == "env:EAB_HMAC"
    assert authority.rate_limits is not None
    assert authority.rate_limits.profile == "letsencrypt"
    assert config.dns[0].zone == "corp.example"
    assert config.dns[0].model_dump()["server"] == ("127.0.0.1:5353",)
    assert config.resolver is not None
    assert config.resolver.nameservers == ("127.0.0.1:5353",)
    certificate = config.certificates["preview"]
    assert certificate.names == ("pr-7.preview.example.com", "*.pr-7.preview.example.com")
    assert certificate.key_type is KeyType.EC_P256
    assert certificate.renewal == RenewPolicy()
    assert certificate.stores[0].model_dump()["directory"] == "certs"
    spec = config.spec("preview")
    assert spec.names == ("*.pr-7.preview.example.com", "pr-7.preview.example.com")
    assert (spec.authority, spec.directory, spec.profile) == ("letsencrypt", authority.directory_url, "shortlived")


def test_every_value_has_its_origin(file: Path) -> None:
    origins = read(file, {"CI_ACME_STATE": "sqlite:x.db"}, email=["a@b.example"]).origins
    assert origins["version"] == Origin("file", "ci-acme.yaml:1")
    assert origins["state"] == Origin("environment", "CI_ACME_STATE")
    assert origins["authorities.letsencrypt.contact[0]"] == Origin("option", "--email")
    assert origins["authorities.letsencrypt.external_account.hmac_key"] == Origin("file", "ci-acme.yaml:10")
    assert origins["authorities.letsencrypt.rate_limits.profile"] == Origin("file", "ci-acme.yaml:13")
    assert origins["dns[0].server[0]"] == Origin("file", "ci-acme.yaml:17")
    assert origins["dns[0].ttl"] == Origin("default")
    assert origins["certificates.preview.names[1]"] == Origin("file", "ci-acme.yaml:25")
    assert origins["certificates.preview.authority[0]"] == Origin("file", "ci-acme.yaml:26")


def test_option_beats_environment_beats_file_beats_default(file: Path) -> None:
    assert read(file).config.certificates["preview"].key == "ec-p256"
    environ = {"CI_ACME_KEY": "rsa-2048"}
    assert read(file, environ).config.certificates["preview"].key == "rsa-2048"
    loaded = read(file, environ, key="ec-p384")
    assert loaded.config.certificates["preview"].key == "ec-p384"
    assert loaded.origins["certificates.preview.key"] == Origin("option", "--key")
    file.write_text(file.read_text().replace("    key: ec-p256", "    # key: ec-p256"))
    assert read(file).origins["certificates.preview.key"] == Origin("default")


@pytest.mark.parametrize("nothing", [None, False, "", [], ()])
def test_options_and_variables_without_a_value_say_nothing(file: Path, nothing: object) -> None:
    empty = {option.variable: "  " for option in OPTIONS}
    assert read(file, empty, **{option.name: nothing for option in OPTIONS}).origins == read(file).origins


def test_ca_replaces_the_directory_of_the_only_authority(file: Path) -> None:
    config = read(file, ca="https://127.0.0.1:14000/dir", ca_bundle="x.pem").config
    assert list(config.authorities) == ["letsencrypt"]
    assert config.authorities["letsencrypt"].directory == "https://127.0.0.1:14000/dir"
    assert config.authorities["letsencrypt"].ca_bundle == "x.pem"


TWO = """\
version: 1
authorities:
  one: {directory: letsencrypt}
  two: {directory: zerossl, account_key: env:KEY}
certificates:
  a: {names: a.example, authority: [two, one], stores: [{provider: file, directory: certs}], profile: x}
  b: {names: b.example, authority: one, stores: [{provider: file, directory: certs}]}
"""


def test_ca_chooses_among_several_authorities(file: Path) -> None:
    file.write_text(TWO)
    config = read(file).config
    assert config.certificates["a"].authority == ("two", "one")
    assert [config.authorities[name].account_key for name in ("one", "two")] == [
        "file:.ci-acme/account-one.pem",
        "env:KEY",
    ]
    config = read(file, ca="one", profile="shortlived").config
    assert [certificate.authority for certificate in config.certificates.values()] == [("one",), ("one",)]
    assert config.spec("a").profile == "shortlived"
    with pytest.raises(ConfigError, match=r"--ca: no authority of the config has this name.*allowed: one, two"):
        read(file, ca="letsencrypt")
    with pytest.raises(ConfigError, match=r"--account-key: is for one authority, and the config has 2"):
        read(file, account_key="env:X")


def test_a_bad_override_is_a_problem_of_the_option(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(file, {"CI_ACME_RESOLVER": "127.0.0.1:x"}, email=["nobody"], state="redis:x", agree_terms=True)
    assert caught.value.message.splitlines()[1:] == [
        "--email: authorities.letsencrypt.contact[0]: is not an e-mail address (ASCII before the @)",
        "--state: state: must be sqlite:PATH, postgresql://…, s3://BUCKET/PREFIX, gs://… or az://CONTAINER/PREFIX",
        "CI_ACME_RESOLVER: resolver.nameservers[0]: the port is not a number from 1 to 65535",
    ]


def test_an_override_replaces_a_bad_value_of_the_file(file: Path) -> None:
    file.write_text(file.read_text().replace("state: sqlite:", "state: !bad sqlite:"))
    with pytest.raises(ConfigError):
        read(file)
    file.write_text(file.read_text().replace("!bad sqlite:", "redis:"))
    assert read(file, state="sqlite:x").config.state == "sqlite:x"


def test_overrides_of_a_broken_file_are_no_traceback(file: Path) -> None:
    everything = {option.name: ["x"] if option.many else "x" for option in OPTIONS if option.with_file}
    for text in ("", "resolver: [x]", "resolver: {nameservers: {a: b}}", "authorities: 3\ncertificates: []", "a: b"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            read(file, **everything)


def test_options_of_the_other_form_are_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="--dns is for the form without a config file"):
        read(file, dns="rfc2136")
    assert read(file, {"CI_ACME_DNS": "rfc2136"}).config == read(file).config


def test_the_order_in_which_a_file_is_looked_for(tmp_path: Path) -> None:
    assert find_config(None, {}, tmp_path) is None
    for name in reversed(LOOKED_FOR):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        assert find_config(None, {}, tmp_path) == tmp_path / name
    assert find_config(None, {"CI_ACME_CONFIG": "b.yaml"}, tmp_path) == tmp_path / "b.yaml"
    assert find_config("a.yaml", {"CI_ACME_CONFIG": "b.yaml"}, tmp_path) == tmp_path / "a.yaml"
    assert find_config("/etc/a.yaml", {}, tmp_path) == Path("/etc/a.yaml")
    assert find_config(None, {"CI_ACME_CONFIG": ""}, tmp_path) == tmp_path / LOOKED_FOR[0]


def test_which_form_a_command_uses(file: Path) -> None:
    def run(environ: dict[str, str] | None = None, **options: Any) -> Loaded:
        return open_config(options, environ=environ or {}, cwd=file.parent, environment="x")

    assert run().path == file
    fileless = {"domain": ["a.example"], "dns": "rfc2136", "dns_option": ["server=127.0.0.1"], "store": ["file:x"]}
    assert run(**fileless).path is None
    with pytest.raises(UsageError):
        run(config="ci-acme.yaml", **fileless)
    with pytest.raises(UsageError):
        run({"CI_ACME_DOMAIN": "a.example", "CI_ACME_CONFIG": "ci-acme.yaml"})
    file.unlink()
    with pytest.raises(
        ConfigError, match=r"there is no config file: looked for ci-acme\.yaml, \.ci-acme\.yaml"
    ) as caught:
        run()
    assert "config init" in caught.value.fix


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.yaml", "there is no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "a\0b", "cannot be read"),
        (tmp_path / "c.yaml" / "d", "there is no such file"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            read(path)
        assert caught.value.details["problems"]


def test_errors_show_the_path_from_the_working_directory(file: Path) -> None:
    nested = file.parent / ".github" / "ci-acme.yaml"
    nested.parent.mkdir()
    nested.write_text("version: 2\n")
    with pytest.raises(ConfigError) as caught:
        read(nested)
    assert "\n.github/ci-acme.yaml:1:10: version: must be 1" in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", RenewPolicy()),
        ("30d", RenewPolicy(auto=False, before=timedelta(days=30))),
        ("1d12h", RenewPolicy(auto=False, before=timedelta(hours=36))),
        ("90m", RenewPolicy(auto=False, before=timedelta(minutes=90))),
        ("2w", RenewPolicy(auto=False, before=timedelta(weeks=2))),
        ("0.33", RenewPolicy(auto=False, fraction=0.33)),
        ("'0.5'", RenewPolicy(auto=False, fraction=0.5)),
        (".25", RenewPolicy(auto=False, fraction=0.25)),
    ],
)
def test_when_to_renew(text: str, expected: RenewPolicy, small: str, load: Load) -> None:
    config = load(small.replace("    names", f"    renew: {text}\n    names")).config
    assert config.certificates["web"].renewal == expected


@pytest.mark.parametrize("text", ["0", "1", "1.0", "0.0", "-1d", "0d", "30", "30 days", "9999w", "true", "''", "0.3.3"])
def test_when_not_to_renew(text: str, small: str, load: Load) -> None:
    with pytest.raises(ConfigError):
        load(small.replace("    names", f"    renew: {text}\n    names"))


def test_expansions(small: str, load: Load) -> None:
    text = small.replace("[www.example.com]", "['${environment}.${env.DOMAIN}', '*.${environment}.${env.DOMAIN}']")
    text = text.replace("directory: certs", "directory: '$HOME/${environment}/$${x}/$$/${env.DIR}'")
    loaded = load(text, {"DOMAIN": "Example.COM", "DIR": "[a: b, *c] # ${environment}"})
    assert loaded.config.certificates["web"].names == ("pr-7.example.com", "*.pr-7.example.com")
    directory = loaded.config.certificates["web"].stores[0].model_dump()["directory"]
    assert directory == "$HOME/pr-7/${x}/$/[a: b, *c] # ${environment}"


def test_an_expanded_number_is_text_until_a_field_wants_a_number(small: str, load: Load) -> None:
    config = load(small.replace("server: ", "ttl: '${env.TTL}', server: "), {"TTL": "30"}).config
    assert config.dns[0].ttl == 30


def test_an_expanded_value_is_in_no_message(small: str, load: Load) -> None:
    for where in (
        "zone: '${env.X}'",
        "zone: a.example, ttl: '${env.X}'",
        "zone: a.example, tsig_algorithm: '${env.X}'",
    ):
        with pytest.raises(ConfigError) as caught:
            load(small.replace("zone: example.com", where), {"X": "very private"})
        assert "private" not in f"{caught.value.message}{caught.value.details}"


def test_names_and_zones_are_kept_as_a_labels(small: str, load: Load) -> None:
    text = small.replace("www.example.com", "'*.BÜCHER.example.'").replace("zone: example.com", "zone: Bücher.example.")
    config = load(text).config
    assert config.certificates["web"].names == ("*.xn--bcher-kva.example",)
    assert config.dns[0].zone == "xn--bcher-kva.example"


def test_aliases_say_the_same_thing_twice(small: str, load: Load) -> None:
    text = small.replace("stores: [", "stores: &s [") + "  api: {names: api.example.com, stores: *s}\n"
    assert load(text).config.certificates["api"].stores == load(text).config.certificates["web"].stores


def test_loading_needs_neither_dns_nor_cryptography() -> None:
    code = (
        "import sys; import ci_acme.config.load, ci_acme_providers.rfc2136.config, ci_acme_providers.files.config;"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('dns', 'cryptography', 'idna', 'acme', 'difflib')))"
    )
    paths = [path for path in sys.path if path]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"


def test_options_load_no_pydantic() -> None:
    paths = [path for path in sys.path if path]
    code = (
        f"import sys; sys.path[:0] = {paths!r}; import ci_acme.config.options; "
        "print([m for m in ('pydantic', 'yaml') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_config_is_checked_without_a_look_at_every_installed_package(small: str, tmp_path: Path) -> None:
    config = tmp_path / "ci-acme.yaml"
    config.write_text(small)
    paths = [path for path in sys.path if path]
    code = (
        f"import sys; sys.path[:0] = {paths!r}; from ci_acme.cli.app import run; "
        f"status = run(['config', 'validate', '--config', {str(config)!r}]); "
        "print(status, [m for m in ('pydantic', 'importlib.metadata') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "0 ['pydantic']"


def test_options_are_read_by_name_and_variable() -> None:
    said = read_options(
        {"domain": ["a.example,b.example", "c.example"], "agree_terms": True, "unknown": 1, "store": ["file:a b"]},
        {"CI_ACME_RESOLVER": "1.1.1.1, 8.8.8.8:53\n", "CI_ACME_DOMAIN": "x", "CI_ACME_AGREE_TERMS": "no"},
    )
    assert {name: (value.value, value.mark.source) for name, value in said.items()} == {
        "domain": (["a.example", "b.example", "c.example"], "--domain"),
        "agree_terms": (True, "--agree-terms"),
        "resolver": (["1.1.1.1", "8.8.8.8:53"], "CI_ACME_RESOLVER"),
        "store": (["file:a b"], "--store"),
    }

"""`revoke`: which certificate, by which key, and what the next `issue` makes of it."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ci_acme.ca.keys import generate_key, key_to_pem
from ci_acme.core.account import Revocation
from ci_acme.errors import StoreReadError, UsageError
from tests.runner.conftest import MakeWorld, World


@pytest.fixture
def issued(world: World) -> World:
    """A world with an account and a certificate."""
    assert world.issue().error is None
    world.ca.log.clear()
    return world


def revoked_at_ca(world: World) -> list[str]:
    """Serial numbers that the CA has revoked."""
    return sorted(f"{one.leaf.serial_number:x}" for one in world.ca._core.records.certificates.values() if one.revoked)


def metadata(store: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((store / "metadata.json").read_text())
    return document


def only(world: World, **wanted: Any) -> Revocation:
    (one,) = world.revoke(**wanted).certificates
    return one


def serial_of(path: Path) -> str:
    return f"{x509.load_pem_x509_certificate(path.read_bytes()).serial_number:x}"


def test_by_name_and_the_next_run_renews(issued: World) -> None:
    serial = serial_of(issued.store / "cert.pem")
    one = only(issued, name="web", reason=4)
    assert (one.action, one.by, one.authority, one.reason, one.error) == (
        "revoked", "account", "sandbox", "superseded", None,
    )  # fmt: skip
    assert revoked_at_ca(issued) == [serial]
    assert [store.action for store in one.stores] == ["marked"]
    assert issued.requests() == {"directory": 1, "newNonce": 1, "revokeCert": 1}
    plan = issued.issue(dry_run=True)
    assert plan.action == "would-renew"
    assert f"was revoked at {metadata(issued.store)['revoked']}" in plan.reason
    assert issued.issue().action == "renewed"
    assert serial_of(issued.store / "cert.pem") != serial
    assert "revoked" not in metadata(issued.store)
    assert issued.issue().action == "kept"


def test_the_inventory_says_so(issued: World) -> None:
    issued.config["certificates"]["web"]["stores"].append({"provider": "file", "directory": "more"})
    assert issued.issue().action == "delivered"
    assert [row.state for row in issued.run().inventory()] == ["valid"]
    assert only(issued, name="web").action == "revoked"
    assert [row.state for row in issued.run().inventory()] == ["revoked"]
    shutil.rmtree("certs")
    assert [row.state for row in issued.run().inventory()] == ["revoked"]
    assert issued.issue().action in {"issued", "renewed"}
    assert next(row.state for row in issued.run().inventory()) == "valid"


def test_revoking_again_is_success(issued: World) -> None:
    first = only(issued, name="web")
    again = only(issued, name="web")
    assert (again.action, again.error) == ("already-revoked", None)
    assert first.revoked_at is not None
    assert again.revoked_at == first.revoked_at.replace(microsecond=0)
    assert metadata(issued.store)["revoked"] == again.as_dict()["revoked_at"]


def test_revoked_elsewhere_is_marked_too(issued: World) -> None:
    for certificate in issued.ca._core.records.certificates.values():
        certificate.revoked = datetime.now(timezone.utc)
    assert only(issued, name="web").action == "already-revoked"
    assert issued.issue().action == "renewed"


@pytest.mark.parametrize("form", ["pem", "chain", "der"])
@pytest.mark.parametrize("place", ["in the store", "in no store"])
def test_by_file(issued: World, form: str, place: str) -> None:
    file = issued.directory / "leaf"
    pem = (issued.store / "cert.pem").read_bytes()
    content = {
        "pem": pem,
        "chain": (issued.store / "fullchain.pem").read_bytes(),
        "der": x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER),
    }
    file.write_bytes(content[form])
    if place == "in no store":
        shutil.rmtree(issued.store)
    one = only(issued, certificate=file)
    assert (one.action, one.by, one.error) == ("revoked", "account", None)
    assert one.name == ("web" if place == "in the store" else None)
    assert [store.action for store in one.stores] == (["marked"] if one.name else [])
    assert revoked_at_ca(issued) == [one.facts.serial.lstrip("0")]


@pytest.mark.parametrize("style", ["{}", "0x{}", "00{}", "{:upper}", "colons"])
def test_by_serial(issued: World, style: str) -> None:
    plain = metadata(issued.store)["serial"]
    pairs = ":".join(plain[index : index + 2] for index in range(0, len(plain), 2))
    text = pairs if style == "colons" else plain.upper() if "upper" in style else style.format(plain)
    one = only(issued, serial=text)
    assert (one.action, one.name) == ("revoked", "web")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"name": "other"}, "'other'"),
        ({"serial": "abc"}, "serial number abc"),
        ({"serial": "xyz"}, "no serial number"),
        ({"certificate": Path("nowhere.pem")}, "nowhere.pem cannot be read"),
        ({"certificate": Path("ci-acme.yaml")}, "is no certificate: neither PEM nor DER"),
        ({"certificate": Path("certs/web/privkey.pem")}, "PRIVATE KEY"),
    ],
)
def test_what_is_not_there(issued: World, wanted: dict[str, Any], words: str) -> None:
    issued.write()
    with pytest.raises(UsageError, match=words) as raised:
        issued.revoke(**wanted)
    assert raised.value.fix
    assert "MHcC" not in raised.value.message
    assert issued.requests() == {}


def test_a_name_without_a_certificate(world: World) -> None:
    with pytest.raises(UsageError, match="no certificate in the stores of web") as raised:
        world.revoke(name="web")
    assert "--certificate" in raised.value.fix


def test_a_store_that_cannot_be_read(issued: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(issued.directory / "certs")
    (issued.directory / "certs").write_text("in the way")
    with pytest.raises(StoreReadError):
        issued.revoke(name="web")


# by whom


def test_without_the_account_its_own_key_revokes_it(issued: World) -> None:
    issued.key.unlink()
    one = only(issued, name="web", reason=1)
    assert (one.action, one.by) == ("revoked", "certificate key")
    assert not issued.key.exists()  # nothing is made for a revocation
    assert issued.requests()["newAccount"] == 0
    assert one.next is not None
    assert "ci-acme issue --force web" in one.next


@pytest.mark.parametrize("how", ["another account", "deactivated", "no account", "unset variable"])
def test_an_account_that_may_not_gives_way_to_the_key(issued: World, how: str) -> None:
    if how == "deactivated":
        issued.account("deactivate")
    elif how == "unset variable":
        issued.authority["account_key"] = "env:NOT_THERE"
    else:
        issued.key.write_bytes(key_to_pem(generate_key()).reveal())
        if how == "another account":
            issued.account("register")
    one = only(issued, name="web")
    assert (one.action, one.by) == ("revoked", "certificate key")


def test_a_key_from_a_file(issued: World) -> None:
    cert, key = issued.directory / "cert.pem", issued.directory / "key.pem"
    shutil.copy(issued.store / "cert.pem", cert)
    shutil.copy(issued.store / "privkey.pem", key)
    shutil.rmtree(issued.store)
    issued.key.unlink()
    refused = only(issued, certificate=cert)
    assert refused.action == "failed"
    assert refused.error is not None
    assert refused.error.exit_status == 2
    assert "--key FILE" in refused.error.fix
    wrong = issued.directory / "wrong.pem"
    wrong.write_bytes(key_to_pem(generate_key()).reveal())
    issued.ca.log.clear()
    mistaken = only(issued, certificate=cert, key=wrong)
    assert mistaken.error is not None
    assert "does not hold the private key" in mistaken.error.message
    assert issued.requests() == {}
    one = only(issued, certificate=cert, key=key)
    assert (one.action, one.by) == ("revoked", "certificate key")


def test_a_certificate_of_nobody_here(issued: World, tmp_path: Path) -> None:
    foreign = issued.ca.root
    one = only(issued, certificate=foreign)
    assert one.action == "failed"
    assert one.error is not None
    assert one.error.exit_status == 5
    assert "not issued here" in one.error.message


def test_the_authority_that_issued_it_is_asked(make_world: MakeWorld) -> None:
    other, world = make_world(), make_world()
    world.config["authorities"]["other"] = {**other.authority, "account_key": f"file:{other.key}"}
    world.config["certificates"]["web"]["authority"] = "other"
    assert world.issue().error is None
    world.config["certificates"]["web"]["authority"] = "sandbox"  # moved since
    shutil.copy(world.store / "cert.pem", world.directory / "copy.pem")
    one = only(world, name="web")
    assert (one.action, one.authority) == ("revoked", "other")
    assert world.requests() == {}
    assert revoked_at_ca(other) == [one.facts.serial.lstrip("0")]


@pytest.mark.parametrize("said", [None, "other", "sandbox"])
def test_the_authority_of_a_file_is_the_one_whose_account_works(make_world: MakeWorld, said: str | None) -> None:
    other, world = make_world(), make_world()
    world.config["authorities"]["other"] = {**other.authority, "account_key": f"file:{other.key}"}
    world.config["certificates"]["web"]["authority"] = "other"
    world.account("register", "sandbox")
    assert world.issue().error is None
    copy = world.directory / "copy.pem"
    shutil.copy(world.store / "cert.pem", copy)
    shutil.rmtree(world.store)
    one = only(world, certificate=copy, authority=said)
    if said == "sandbox":
        assert one.action == "failed"
    else:
        assert (one.action, one.authority, one.by) == ("revoked", "other", "account")


@pytest.mark.parametrize("trouble", ["unavailable", "rate_limit"])
def test_a_ca_in_trouble_does_not_keep_the_one_that_issued_a_file_from_being_asked(
    make_world: MakeWorld, trouble: str
) -> None:
    other, world = make_world(), make_world()
    assert other.issue().error is None
    world.account("register")
    world.config["authorities"]["other"] = {**other.authority, "account_key": f"file:{other.key}"}
    world.config["certificates"]["web"]["authority"] = "sandbox"
    copy = other.store / "cert.pem"
    getattr(world.ca.faults, trouble)("revokeCert", times=None, retry_after=3600)
    one = only(world, certificate=copy)
    assert (one.action, one.authority, one.by) == ("revoked", "other", "account")
    getattr(other.ca.faults, trouble)("newNonce", times=None, retry_after=3600)
    failed = only(world, certificate=copy)
    assert failed.error is not None
    assert failed.error.exit_status == {"unavailable": 5, "rate_limit": 8}[trouble]
    assert "run again after" in failed.error.fix


def test_an_issuer_that_is_no_authority_any_more(make_world: MakeWorld) -> None:
    old, world = make_world(), make_world()
    world.config["authorities"]["old"] = {**old.authority, "account_key": f"file:{old.key}"}
    world.config["certificates"]["web"]["authority"] = "old"
    assert world.issue().error is None
    del world.config["authorities"]["old"]
    del world.config["certificates"]["web"]["authority"]
    one = only(world, name="web")
    assert one.error is not None
    assert old.ca.directory_url in one.error.message
    assert "--ca" in one.error.fix


# what can go wrong


def test_a_ca_that_is_not_there_is_no_reason_to_try_the_other_key(issued: World) -> None:
    issued.ca.faults.unavailable("revokeCert", times=None, retry_after=3600)
    one = only(issued, name="web")
    assert one.error is not None
    assert one.error.exit_status == 5
    assert issued.requests()["revokeCert"] == 1
    assert "revoked" not in metadata(issued.store)


def test_a_lost_reply_is_success(issued: World) -> None:
    issued.ca.faults.cut_after("revokeCert", times=1)
    assert only(issued, name="web").error is None
    assert issued.issue().action == "renewed"


def test_a_reason_that_the_ca_does_not_take(issued: World) -> None:
    one = only(issued, name="web", reason=6)
    assert one.error is not None
    assert "--reason" in one.error.fix
    assert revoked_at_ca(issued) == []


def test_an_expired_certificate_needs_no_revocation(make_world: MakeWorld) -> None:
    past = datetime.now(timezone.utc) - timedelta(days=100)
    world = make_world(now=lambda: past)
    store = world.directory / "copy.pem"
    world.account("register")
    leaf = world.ca._core.hierarchy.roots[0].certificate
    if leaf.not_valid_after_utc > datetime.now(timezone.utc):
        from cryptography.hazmat.primitives.asymmetric import ec

        from ci_acme.sandbox.issue import sign_leaf

        key = ec.generate_private_key(ec.SECP256R1())
        signer = world.ca._core.hierarchy.intermediates[0]
        leaf = sign_leaf(signer, ["old.demo.test"], key.public_key(), past, past + timedelta(days=9))
    store.write_bytes(leaf.public_bytes(Encoding.PEM))
    world.ca.log.clear()
    one = only(world, certificate=store)
    assert (one.action, one.error) == ("expired", None)
    assert world.requests() == {}


def test_a_store_that_cannot_be_told(issued: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from ci_acme.errors import DeliveryError
    from ci_acme_providers.files.adapter import FileStore

    def refuse(*_: object, **__: object) -> None:
        raise DeliveryError("certs/web is read-only", fix="make it writable")

    monkeypatch.setattr(FileStore, "annotate", refuse)
    report = issued.revoke(name="web")
    (one,) = report.certificates
    assert (one.action, report.exit_status) == ("revoked", 6)
    assert one.error is not None
    assert "issue --force web" in one.error.fix


def test_two_stores_and_two_certificates(issued: World) -> None:
    """An older certificate in another store is revoked with it."""
    issued.config["certificates"]["web"]["stores"].append({"provider": "file", "directory": f"{issued.directory}/more"})
    assert issued.issue().action == "delivered"
    shutil.copytree(issued.directory / "more", issued.directory / "kept")
    assert issued.issue(force=True).action == "renewed"
    shutil.rmtree(issued.directory / "more")
    shutil.copytree(issued.directory / "kept", issued.directory / "more")
    report = issued.revoke(name="web", reason=1)
    assert [one.action for one in report.certificates] == ["revoked", "revoked"]
    assert len(revoked_at_ca(issued)) == 2
    assert issued.issue().action == "renewed"
    assert issued.issue().action == "kept"


def test_no_result_shows_a_key(issued: World) -> None:
    report = issued.revoke(name="web", reason=1)
    text = json.dumps(report.as_dict()) + repr(report) + repr(issued.events)
    assert "PRIVATE KEY" not in text
    assert report.as_dict()["schema"] == "ci-acme/revoke/1"

"""A browser certificate is its admin's, opens by its password, and is gone when it is revoked."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from pharos.helm.accounts import browsers
from pharos.helm.accounts.admins import add_admin, remove_admin
from pharos.helm.accounts.browsers import add_browser, admin_of, browsers_of, revoke_browser
from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError, InvalidRequestError, NotFoundError
from pharos.helm.model.admins import Role as AdminRole
from pharos.helm.model.certificates import CertificateState
from pharos.helm.store.certificates import find_certificate
from pharos.helm.store.database import Database
from pharos.helm.store.denials import deny_list
from pharos.helm.trust.overview import name_of
from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from tests.support.helm import fleet_in_memory, now, sample_act
from tests.support.webtls import opened


@pytest.fixture
def fleet() -> Iterator[tuple[Database, Authority, str]]:
    """An empty fleet, and the id of its second owner."""
    with fleet_in_memory() as (db, authority):
        add_admin(db, sample_act(), "first", AdminRole.OWNER)
        yield db, authority, add_admin(db, sample_act(), "ada", AdminRole.OWNER).id


def test_key_is_an_admins_for_a_year(fleet: tuple[Database, Authority, str]) -> None:
    db, authority, ada = fleet
    made = add_browser(db, sample_act(), authority, ada)
    inside = opened(made.store, made.password)
    leaf = certificate_to_der(inside.certificate)
    identity = authorize_peer(leaf, trust=authority.trust, roles={Role.ADMIN}, peer_id=None, now=now())
    assert identity.id == made.certificate.subject
    assert inside.key.public_key() == inside.certificate.public_key()
    assert inside.certificate.not_valid_after_utc - now() > datetime.timedelta(days=364)
    assert admin_of(identity) == ada
    assert name_of(db, identity) == "ada"
    assert admin_of(attrs.evolve(identity, role=Role.DEVICE)) is None
    with pytest.raises(ValueError, match="password"):
        opened(made.store, made.password[:-1] + "!")
    assert repr(made).count(made.password) == 0


def test_each_browser_is_another_member_and_one_is_revoked_for_ever(fleet: tuple[Database, Authority, str]) -> None:
    db, authority, ada = fleet
    first, second = (add_browser(db, sample_act(), authority, ada) for _ in range(2))
    assert [one.id for one in browsers_of(db, ada, at=sample_act().at)] == [second.certificate.id, first.certificate.id]
    revoke_browser(db, sample_act(), ada, first.certificate.id)
    assert [one.id for one in browsers_of(db, ada, at=sample_act().at)] == [second.certificate.id]
    denied = deny_list(db)
    for made, welcome in ((first, False), (second, True)):
        leaf, trust = made.certificate.certificate, authority.trust
        if welcome:
            authorize_peer(leaf, trust=trust, roles={Role.ADMIN}, peer_id=None, now=now(), deny=denied)
        else:
            with pytest.raises(PeerRejectedError, match="revoked"):
                authorize_peer(leaf, trust=trust, roles={Role.ADMIN}, peer_id=None, now=now(), deny=denied)
    # A second time it is done already.
    version = denied.version
    revoke_browser(db, sample_act(), ada, first.certificate.id)
    assert deny_list(db).version == version


def test_certificate_of_another_admin_or_member_is_not_ones_own_to_revoke(
    fleet: tuple[Database, Authority, str],
) -> None:
    db, authority, ada = fleet
    bob = add_admin(db, sample_act(), "bob", AdminRole.OWNER).id
    made = add_browser(db, sample_act(), authority, ada)
    for fingerprint in (made.certificate.id, "00", "%"):
        with pytest.raises(NotFoundError):
            revoke_browser(db, sample_act(), bob, fingerprint)
    controller = db.execute("SELECT id FROM certificates WHERE role = 'controller'").fetchone()[0]
    with pytest.raises(NotFoundError):
        revoke_browser(db, sample_act(), ada, controller)


def test_browsers_leave_with_their_admin(fleet: tuple[Database, Authority, str]) -> None:
    db, authority, ada = fleet
    made = add_browser(db, sample_act(), authority, ada)
    remove_admin(db, sample_act(), ada, 1)
    kept = find_certificate(db, made.certificate.id)
    assert kept is not None
    assert kept.state is CertificateState.REVOKED
    assert deny_list(db).denies_member(Role.ADMIN, kept.subject)


def test_admin_has_so_many_browsers_and_no_more(
    fleet: tuple[Database, Authority, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, authority, ada = fleet
    monkeypatch.setattr(browsers, "MAX_BROWSERS", 2)
    made = [add_browser(db, sample_act(), authority, ada) for _ in range(2)]
    with pytest.raises(ConflictError, match="has 2 browser certificates"):
        add_browser(db, sample_act(), authority, ada)
    revoke_browser(db, sample_act(), ada, made[0].certificate.id)
    add_browser(db, sample_act(), authority, ada)


def test_password_may_be_chosen_if_it_is_long(fleet: tuple[Database, Authority, str]) -> None:
    db, authority, ada = fleet
    with pytest.raises(InvalidRequestError, match="16 to 128"):
        add_browser(db, sample_act(), authority, ada, password="correct horse b")
    made = add_browser(db, sample_act(), authority, ada, password="correct horse battery staple é")
    assert made.password == "correct horse battery staple é"
    opened(made.store, made.password)
    drawn = {add_browser(db, sample_act(), authority, ada).password for _ in range(3)}
    assert {(len(one), one.count("-")) for one in drawn} == {(29, 5)}
    assert len(drawn) == 3


@pytest.mark.parametrize(
    ("old", "words"),
    [(False, ["MAC: sha256", "PBES2, PBKDF2, AES-256-CBC"]), (True, ["MAC: sha1", "pbeWithSHA1And3-KeyTripleDES-CBC"])],
)
def test_file_is_encrypted_as_its_reader_takes_it(
    fleet: tuple[Database, Authority, str], tmp_path: Path, *, old: bool, words: list[str]
) -> None:
    db, authority, ada = fleet
    made = add_browser(db, sample_act(), authority, ada, old=old)
    (tmp_path / "ada.p12").write_bytes(made.store)
    command = ["openssl", "pkcs12", "-info", "-noout", "-in", str(tmp_path / "ada.p12"), "-passin", "stdin"]
    shown = subprocess.run(command, input=made.password + "\n", capture_output=True, text=True, check=True).stderr
    for word in words:
        assert word in shown
    opened(made.store, made.password)

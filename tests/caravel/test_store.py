"""The local store keeps secrets private, keeps them before they are shown, and hands out nothing that is damaged."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pharos.caravel.errors import NotEnrolledError
from pharos.caravel.profiles.store import ProfileStore, generate_secrets
from pharos.wire.errors import StateFileError
from tests.support.pki import utc_now


def test_empty_store_holds_no_device(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "s")
    assert store.secrets() is None
    assert store.bundle() is None
    with pytest.raises(NotEnrolledError):
        store.enrolled()
    with pytest.raises(NotEnrolledError):
        store.profile(utc_now())


def test_secrets_come_back_as_they_were_and_are_private(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "s")
    secrets = generate_secrets()
    store.save_secrets(secrets)
    again = ProfileStore(tmp_path / "s").secrets()
    assert again is not None
    assert again.tls == secrets.tls
    for name in ("sealing", "derive", "noise", "awg"):
        assert getattr(again, name).private_bytes() == getattr(secrets, name).private_bytes()
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.path.iterdir()} == {0o600}


def test_secrets_never_show_in_a_repr() -> None:
    secrets = generate_secrets()
    shown = repr(secrets)
    for name in ("sealing", "derive", "noise", "awg"):
        assert getattr(secrets, name).private_bytes().hex() not in shown
    assert repr(secrets.tls) not in shown


def test_store_open_to_others_is_refused(tmp_path: Path) -> None:
    ProfileStore(tmp_path / "s")
    (tmp_path / "s").chmod(0o755)
    with pytest.raises(StateFileError, match="chmod 700"):
        ProfileStore(tmp_path / "s")


def test_keys_are_distinct(tmp_path: Path) -> None:
    secrets = generate_secrets()
    publics = {getattr(secrets, name).public for name in ("sealing", "derive", "noise", "awg")}
    assert len(publics) == 4

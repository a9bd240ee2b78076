"""A secret opens with its own name, version and key and no other; the kit survives paper."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.ca.vault import RecoveryKit, Vault, create_vault, open_vault
from pharos.helm.errors import InvalidRequestError, NotInitialisedError
from pharos.wire.errors import StateFileError
from tests.support.strategies import keys, quick

SECRET = b"the secret of the lighthouse"


@quick
@given(keys, st.text(max_size=20), st.integers(0, 2**31), st.binary(max_size=100))
def test_wrapped_secret_opens_again(key: bytes, name: str, version: int, secret: bytes) -> None:
    assert Vault(key).unwrap(name, version, Vault(key).wrap(name, version, secret)) == secret


@pytest.mark.parametrize(
    ("key", "name", "version"),
    [
        (b"B" * 32, "ca", 1),
        (b"A" * 32, "other", 1),
        (b"A" * 32, "ca", 2),
        # Name and version are separated, so that neither runs into the other.
        (b"A" * 32, "ca\0001", 1),
    ],
)
def test_other_key_name_or_version_does_not_open_it(key: bytes, name: str, version: int) -> None:
    wrapped = Vault(b"A" * 32).wrap("ca", 1, SECRET)
    with pytest.raises(StateFileError, match="does not open with this key; restore"):
        Vault(key).unwrap(name, version, wrapped)


@pytest.mark.parametrize("cut", [0, 1, 23, 24, 39, 40])
def test_truncated_row_does_not_open(cut: int) -> None:
    wrapped = Vault(b"A" * 32).wrap("ca", 1, SECRET)
    with pytest.raises(StateFileError):
        Vault(b"A" * 32).unwrap("ca", 1, wrapped[:cut])


def test_any_flipped_bit_is_seen() -> None:
    vault = Vault(b"A" * 32)
    wrapped = vault.wrap("ca", 1, SECRET)
    for position in range(len(wrapped)):
        bad = bytearray(wrapped)
        bad[position] ^= 1
        with pytest.raises(StateFileError):
            vault.unwrap("ca", 1, bytes(bad))


def test_same_secret_wraps_differently_each_time() -> None:
    vault = Vault(b"A" * 32)
    assert vault.wrap("ca", 1, SECRET) != vault.wrap("ca", 1, SECRET)


@quick
@given(keys)
def test_printed_kit_is_read_back_however_it_is_typed(secret: bytes) -> None:
    kit = RecoveryKit(secret)
    printed = kit.printed()
    for typed in (
        printed,
        printed.lower(),
        printed.replace("-", ""),
        printed.replace("-", " "),
        f"  {printed}\n",
        printed.replace("-", "\n", 5),
    ):
        assert RecoveryKit.parse(typed) == kit


def test_any_slip_of_the_pen_is_caught() -> None:
    printed = RecoveryKit(bytes(range(32))).printed()
    for position, right in enumerate(printed):
        if right == "-":
            continue
        wrong = "A" if right != "A" else "B"
        with pytest.raises(InvalidRequestError, match="copy all of its groups"):
            RecoveryKit.parse(printed[:position] + wrong + printed[position + 1 :])
    groups = printed.split("-")
    for first, second in itertools.pairwise(groups):
        with pytest.raises(InvalidRequestError):
            RecoveryKit.parse(printed.replace(f"{first}-{second}", f"{second}-{first}"))


@pytest.mark.parametrize("text", ["", "-", "ABCD", "ABCD-" * 14, "0189-" * 14, "ÄÖÜ", "A" * 10_000])
def test_text_that_is_no_kit_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        RecoveryKit.parse(text)


def test_missing_or_doubled_group_is_caught() -> None:
    printed = RecoveryKit(bytes(range(32))).printed()
    for text in (printed[5:], printed[:-5], printed + printed[-5:], printed + printed):
        with pytest.raises(InvalidRequestError):
            RecoveryKit.parse(text)


def test_kits_differ_and_open_different_things() -> None:
    one, other = RecoveryKit.create(), RecoveryKit.create()
    assert one != other
    with pytest.raises(StateFileError):
        other.vault().unwrap("root", 1, one.vault().wrap("root", 1, SECRET))


def test_key_file_is_private_and_opens_the_vault_again(tmp_path: Path) -> None:
    vault, _ = create_vault(tmp_path)
    assert stat.S_IMODE((tmp_path / "data.key").stat().st_mode) == 0o600
    assert open_vault(tmp_path).unwrap("ca", 1, vault.wrap("ca", 1, SECRET)) == SECRET


def test_missing_or_damaged_key_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NotInitialisedError, match=r"data\.key is missing; restore it"):
        open_vault(tmp_path)
    create_vault(tmp_path)
    damaged = (tmp_path / "data.key").read_bytes()[:-4]
    (tmp_path / "data.key").write_bytes(damaged)
    with pytest.raises(StateFileError, match="copy from your backup"):
        open_vault(tmp_path)
    assert (tmp_path / "data.key").read_bytes() == damaged


def test_keys_do_not_print() -> None:
    assert repr(Vault(b"A" * 32)) == "Vault()"
    assert repr(RecoveryKit(b"A" * 32)) == "RecoveryKit()"

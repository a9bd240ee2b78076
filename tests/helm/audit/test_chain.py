"""The chain's own rules; what it finds is tests/attacks/test_a68_audit.py."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.audit.chain import GENESIS, AuditRow, Link, row_hash, verify_rows
from pharos.helm.errors import AuditError
from pharos.helm.store.audit import append_audit, audit_head, audit_rows
from tests.support.audit import append_acts
from tests.support.helm import STARTED_AT, core_in_memory

TEXT = st.text(max_size=20)
NUMBER = st.integers(-(2**63), 2**63 - 1)


@given(st.tuples(NUMBER, NUMBER, TEXT, TEXT, TEXT, TEXT, TEXT, NUMBER, TEXT))
def test_hash_is_that_of_the_standard_librarys_json(
    values: tuple[int, int, str, str, str, str, str, int, str],
) -> None:
    """Another encoder, or another version of ours, would disown every row that was ever written."""
    canonical = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
    expected = hashlib.sha256(b"pharos/audit/v1" + GENESIS + canonical).digest()
    assert row_hash(GENESIS, *values) == expected


def test_encoder_escapes_each_character_as_the_standard_library_does() -> None:
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    canonical = json.dumps([1, 2, "", "", "", "", "", 3, everything], separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(b"pharos/audit/v1" + GENESIS + canonical.encode()).digest()
    assert row_hash(GENESIS, 1, 2, "", "", "", "", "", 3, everything) == expected


def test_hash_is_frozen() -> None:
    digest = row_hash(GENESIS, 1, STARTED_AT, "ada", "session", "user_added", "user", "id", 1, 'Zoë "Z"\n')
    # By sha256sum, of the octets that the module's docstring describes.
    assert digest.hex() == "6d01b7863be88a0cedb29dc029c59bd4d92555c581b2f73d3983826bfc5a5016"


def test_first_row_follows_zeros_and_each_other_the_one_before() -> None:
    with core_in_memory() as db:
        assert audit_head(db) == Link(0, bytes(32))
        append_acts(db, 3)
        rows = audit_rows(db, 0)
        assert [row.sequence for row in rows] == [1, 2, 3]
        assert row_hash(bytes(32), *rows[0][:-1]) == rows[0].hash
        assert row_hash(rows[0].hash, *rows[1][:-1]) == rows[1].hash
        assert audit_head(db) == verify_rows(rows, Link()) == Link(3, rows[2].hash)


def test_pages_are_verified_one_after_the_other() -> None:
    with core_in_memory() as db:
        append_acts(db, 10)
        middle = verify_rows(audit_rows(db, 0, 5), Link())
        assert verify_rows(audit_rows(db, 5, 5), middle).sequence == 10
        with pytest.raises(AuditError, match="audit row 5 is missing; row 6 stands in its place"):
            verify_rows(audit_rows(db, 5, 5), Link(4, middle.hash))


def test_act_without_a_record_is_a_row_like_any_other() -> None:
    with core_in_memory() as db:
        append_audit(db, at=STARTED_AT, actor="ada", via="session", verb="sign_in_refused", detail="wrong password")
        (row,) = audit_rows(db, 0)
        assert (row.noun, row.subject, row.version) == ("", "", 0)
        verify_rows([row], Link())


def test_head_that_was_signed_has_to_be_there() -> None:
    with core_in_memory() as db:
        append_acts(db, 3)
        rows = audit_rows(db, 0)
        signed = {row.sequence: row.hash for row in rows}
        assert verify_rows(rows, Link(), signed).sequence == 3
        with pytest.raises(AuditError, match="audit row 2 is not the one that was signed"):
            verify_rows(rows, Link(), signed | {2: bytes(32)})


def test_value_of_another_type_is_never_hashed() -> None:
    odd: list[Any] = [1.0, "1", None, True, b"1"]
    for value in odd:
        with pytest.raises(TypeError):
            row_hash(GENESIS, value, 2, "", "", "", "", "", 1, "")
    row = AuditRow(1, 2, "", "", "", "", "", 1, b"", bytes(32))  # type: ignore[arg-type]
    with pytest.raises(AuditError, match="what helm never writes"):
        verify_rows([row], Link())

"""Identifiers are exactly of their form, and later ones sort later."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.ids import check_label, parse_fleet_id, uuid7
from tests.support.strategies import quick


@quick
@given(st.from_regex(r"[0-9a-f]{16}", fullmatch=True))
def test_fleet_id_is_sixteen_hexadecimal_digits(text: str) -> None:
    assert parse_fleet_id(text) == text


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "A" * 16, "g" * 16, "0" * 16 + "\n", " " + "0" * 15])
def test_anything_else_is_no_fleet_id(text: str) -> None:
    with pytest.raises(ValueError, match="not a fleet id"):
        parse_fleet_id(text)


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a" * 63, str(uuid.UUID(int=5))])
def test_one_lower_case_dns_label_is_an_id(text: str) -> None:
    assert check_label(text) == text


@pytest.mark.parametrize(
    "text", ["", "-a", "a-", "A", "a.b", "a/b", "a" * 64, "a\n", "a\0", "..", "ä", "a b", "a%2f", "٣"]
)
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        check_label(text)


@quick
@given(st.integers(0, 2**47 * 1_000_000), st.binary(min_size=10, max_size=10))
def test_uuid7_is_version_seven_with_its_time_in_front(now_ns: int, random: bytes) -> None:
    made = uuid.UUID(uuid7(now_ns, random))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_ns // 1_000_000
    assert check_label(str(made)) == str(made)


@quick
@given(st.integers(0, 2**45), st.integers(1, 2**45), st.binary(min_size=10, max_size=10))
def test_later_uuids_sort_later_as_text(millis: int, more: int, random: bytes) -> None:
    assert uuid7(millis * 1_000_000, b"\xff" * 10) < uuid7((millis + more) * 1_000_000, random)


def test_uuid7_without_enough_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        uuid7(0, bytes(9))

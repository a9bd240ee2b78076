"""Who may wait at the door; helm's answers to it are in test_attacks.py."""

from contextlib import ExitStack

import pytest

from pharos.wire.passage.admission import (
    MAX_PER_BEACON,
    MAX_PER_FINGERPRINT,
    MAX_STRANGERS,
    REMEMBERED,
    CrowdedError,
    Door,
)


def occupy(door: Door, held: ExitStack, beacon: str, fingerprint: str | None, times: int) -> None:
    for _ in range(times):
        held.enter_context(door.waiting(beacon, fingerprint))


def is_full(door: Door, beacon: str, fingerprint: str | None) -> bool:
    try:
        with door.waiting(beacon, fingerprint):
            return False
    except CrowdedError:
        return True


def test_a_certificate_has_two_places_at_each_beacon() -> None:
    door = Door()
    with ExitStack() as held:
        occupy(door, held, "a", "f", MAX_PER_FINGERPRINT)
        assert is_full(door, "a", "f")
        assert not is_full(door, "a", "other")
        # A beacon that lies about fingerprints keeps nobody from coming through another.
        assert not is_full(door, "b", "f")
    assert not is_full(door, "a", "f")


def test_a_beacon_has_64_places_of_which_strangers_take_half() -> None:
    door = Door()
    with ExitStack() as held:
        occupy(door, held, "a", None, MAX_STRANGERS)
        assert is_full(door, "a", None)
        for number in range(MAX_PER_BEACON - MAX_STRANGERS):
            occupy(door, held, "a", str(number), 1)
        assert is_full(door, "a", "one more")
        assert not is_full(door, "b", "one more")
    assert not is_full(door, "a", None)


def test_whoever_fails_gives_the_place_back() -> None:
    door = Door()
    for _ in range(3 * MAX_PER_FINGERPRINT):
        with pytest.raises(ValueError, match="failed"), door.waiting("a", "f"):
            raise ValueError("failed")
    assert not is_full(door, "a", "f")


def test_the_last_ten_thousand_ephemeral_keys_are_known_again() -> None:
    door = Door()
    keys = [number.to_bytes(32, "big") for number in range(REMEMBERED + 1)]
    assert not any(door.is_repeat(key) for key in keys[:-1])
    assert all(door.is_repeat(key) for key in keys[:-1])
    assert not door.is_repeat(keys[-1])
    # It took the place of the oldest.
    assert not door.is_repeat(keys[0])
    assert door.is_repeat(keys[-1])

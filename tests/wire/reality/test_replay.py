"""Hellos that were let in, and how long they are remembered."""

from pharos.wire.reality.replay import SeenHellos
from tests.support.reality import NOW, gate

GATE = gate(max_time_difference=120)


def test_a_hello_is_new_once() -> None:
    seen = SeenHellos()
    assert seen.is_new(b"a" * 32, GATE, now=NOW)
    assert seen.is_new(b"b" * 32, GATE, now=NOW)
    assert not seen.is_new(b"a" * 32, GATE, now=NOW + 1)


def test_a_hello_is_remembered_until_the_gate_would_refuse_it() -> None:
    # It may have been made by a clock that is ahead by the whole difference.
    seen = SeenHellos()
    assert seen.is_new(b"a" * 32, GATE, now=NOW)
    assert not seen.is_new(b"a" * 32, GATE, now=NOW + 240)
    assert seen.is_new(b"b" * 32, GATE, now=NOW + 241)
    assert len(seen) == 1


def test_without_a_bound_of_time_it_is_remembered_for_good() -> None:
    seen, endless = SeenHellos(), gate(max_time_difference=0)
    assert seen.is_new(b"a" * 32, endless, now=NOW)
    assert not seen.is_new(b"a" * 32, endless, now=NOW + 1e9)


def test_the_oldest_go_when_there_are_too_many() -> None:
    seen = SeenHellos(most=2)
    for name in (b"a", b"b", b"c"):
        assert seen.is_new(name * 32, GATE, now=NOW)
    assert len(seen) == 2
    assert not seen.is_new(b"c" * 32, GATE, now=NOW)
    assert seen.is_new(b"a" * 32, GATE, now=NOW)

"""New passages go to the emptiest tunnel that is up."""

from __future__ import annotations

import attrs
import pytest

from pharos.beacon.upstream import Upstreams


@attrs.define(eq=False)
class FakeTunnel:
    """As much of a connection as a choice needs."""

    streams: dict[int, object] = attrs.field(factory=dict)
    closed: bool = False


def tunnel(passages: int = 0) -> FakeTunnel:
    return FakeTunnel(streams=dict.fromkeys(range(passages)))


def test_while_helm_is_away_there_is_none() -> None:
    assert Upstreams().pick() is None


def test_emptiest_tunnel_is_chosen_and_each_is_offered_while_it_is_up() -> None:
    upstreams, busy, idle = Upstreams(), tunnel(5), tunnel(1)
    with upstreams.joined(busy):  # type: ignore[arg-type]
        assert upstreams.pick() is busy
        with upstreams.joined(idle):  # type: ignore[arg-type]
            assert upstreams.pick() is idle
            assert len(upstreams) == 2
            idle.streams = dict.fromkeys(range(9))
            assert upstreams.pick() is busy
        assert upstreams.pick() is busy
    assert (upstreams.pick(), len(upstreams)) == (None, 0)


def test_tunnel_that_just_closed_is_not_chosen() -> None:
    upstreams, dead, alive = Upstreams(), tunnel(), tunnel(5)
    dead.closed = True
    with upstreams.joined(dead):  # type: ignore[arg-type]
        assert upstreams.pick() is None
        with upstreams.joined(alive):  # type: ignore[arg-type]
            assert upstreams.pick() is alive


def test_tunnel_that_fails_is_withdrawn() -> None:
    upstreams = Upstreams()
    with pytest.raises(ZeroDivisionError), upstreams.joined(tunnel()):  # type: ignore[arg-type]
        raise ZeroDivisionError
    assert len(upstreams) == 0

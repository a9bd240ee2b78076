"""What one device may have of a beacon: passages, connections, and tries."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from pharos.beacon.sanitize import Refusal
from pharos.beacon.shares import (
    DEVICE_BURST,
    DEVICE_CONNECTIONS,
    DEVICE_PASSAGES,
    DEVICE_RATE,
    UNSHARED,
    ShareBounds,
    Shares,
)
from pharos.helm.relay.tunnels import MAX_TUNNELS
from pharos.wire.rpc.limits import EDGE_STREAMS, TUNNEL_STREAMS


def opened(shares: Shares, device: str, tries: int, now: float = 0.0, *, held: ExitStack | None = None) -> int:
    """Open passages of one device, one after the other or all at once; return how many were let through."""
    through = 0
    for _ in range(tries):
        if shares.admit(device, now) is None:
            through += 1
            if held is not None:
                held.enter_context(shares.passage(device))
    return through


def test_device_holds_so_many_passages_and_no_more() -> None:
    shares = Shares()
    with ExitStack() as held:
        assert opened(shares, "greedy", 100, held=held) == DEVICE_PASSAGES
        assert shares.admit("greedy", 0.0) is Refusal.TOO_MANY
        assert shares.admit("good", 0.0) is None
    assert shares.admit("greedy", 0.0) is None
    assert not shares._passages
    with ExitStack() as held:
        assert opened(Shares(UNSHARED), "greedy", 10_000, held=held) == 10_000


def test_no_few_devices_can_fill_the_tunnels() -> None:
    places = (MAX_TUNNELS - 1) * TUNNEL_STREAMS
    assert places / DEVICE_PASSAGES > 500
    assert DEVICE_PASSAGES >= 2 * EDGE_STREAMS, "a device that has lost its connection can fill another"


def test_device_that_comes_again_and_again_is_slowed_down() -> None:
    shares = Shares()
    assert opened(shares, "greedy", 1_000) == DEVICE_BURST
    assert shares.admit("greedy", 0.0) is Refusal.DEVICE_TOO_OFTEN
    assert opened(shares, "greedy", 1_000, 30.0) == 30 * DEVICE_RATE
    assert opened(shares, "good", 1) == 1
    assert opened(Shares(UNSHARED), "greedy", 10_000) == 10_000


def test_devices_are_not_remembered_without_bound() -> None:
    shares = Shares(ShareBounds(devices=100))
    for number in range(1_000):
        shares.admit(f"device {number}", 0.0)
    assert len(shares._buckets) == 100


def test_connection_too_many_costs_the_device_its_oldest() -> None:
    shares, cut = Shares(), []
    with ExitStack() as held:
        for number in range(DEVICE_CONNECTIONS + 2):
            held.enter_context(shares.connection("greedy", lambda number=number: cut.append(number)))
            held.enter_context(shares.connection(f"good {number}", lambda: cut.append("good")))
        assert cut == [0, 1]
    assert not shares._connections


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60))
def test_no_order_of_comings_and_goings_leaves_anything_behind(steps: list[tuple[int, bool]]) -> None:
    shares = Shares(ShareBounds(connections=2))
    open_ones: list[list[ExitStack]] = [[], [], []]
    cut: list[int] = []
    for device, comes in steps:
        mine = open_ones[device]
        if comes:
            stack = ExitStack()
            stack.enter_context(shares.connection(device, lambda stack=stack: cut.append(id(stack))))
            mine.append(stack)
        elif mine:
            # The newest leaves; one that was cut leaves whenever it comes to know.
            mine.pop().close()
        assert all(len(kept) <= 2 for kept in shares._connections.values())
    for stack in (stack for mine in open_ones for stack in mine):
        stack.close()
    assert not shares._connections

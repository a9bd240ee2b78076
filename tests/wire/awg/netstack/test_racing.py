from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import pytest
import trio
import trio.testing

from pharos.wire.awg.netstack.dialling import dial_host, order_versions
from pharos.wire.awg.netstack.racing import ATTEMPT_DELAY, RESOLUTION_DELAY, AddressFeed, FixedFeed, race

V4 = [ip_address(f"192.0.2.{number}") for number in range(1, 4)]
V6 = [ip_address(f"2001:db8::{number}") for number in range(1, 4)]


class Attempts:
    """Takes so many seconds for each place, and succeeds or not."""

    def __init__(self, **fates: tuple[float, Exception | None]) -> None:
        self.fates = fates
        self.begun: list[tuple[str, float]] = []
        self.cancelled: list[str] = []

    async def __call__(self, place: str) -> str:
        self.begun.append((place, trio.current_time()))
        seconds, failure = self.fates[place]
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            self.cancelled.append(place)
            raise
        if failure is not None:
            raise failure
        return place


async def test_the_first_that_answers_wins_and_the_others_are_cancelled(autojump_clock: trio.testing.MockClock):
    attempts = Attempts(a=(10, None), b=(1, None), c=(10, None))
    assert await race(FixedFeed("abc"), attempts) == "b"
    assert [place for place, _ in attempts.begun] == ["a", "b", "c"]
    assert sorted(attempts.cancelled) == ["a", "c"]
    assert trio.current_time() == pytest.approx(attempts.begun[0][1] + ATTEMPT_DELAY + 1)


async def test_an_attempt_begins_at_once_when_the_one_before_fails(autojump_clock: trio.testing.MockClock):
    attempts = Attempts(a=(0.01, ConnectionRefusedError()), b=(0, None))
    assert await race(FixedFeed("ab"), attempts) == "b"
    assert attempts.begun[1][1] - attempts.begun[0][1] == pytest.approx(0.01)


async def test_when_all_fail_the_error_tells_of_all(autojump_clock: trio.testing.MockClock):
    attempts = Attempts(
        a=(0.4, ConnectionRefusedError(errno.ECONNREFUSED, "refused")), b=(0, trio.BrokenResourceError("broken"))
    )
    with pytest.raises(OSError, match=r"broken.*refused") as caught:
        await race(FixedFeed("ab"), attempts)
    assert len(caught.value.__cause__.exceptions) == 2


async def test_a_single_failure_is_raised_as_it_is():
    failure = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    with pytest.raises(ConnectionRefusedError) as caught:
        await race(FixedFeed("a"), Attempts(a=(0, failure)))
    assert caught.value is failure


async def test_two_that_win_together_are_one_winner_and_one_that_is_discarded(autojump_clock: trio.testing.MockClock):
    discarded = []

    async def discard(place: str) -> None:
        discarded.append(place)

    attempts = Attempts(a=(1 + ATTEMPT_DELAY, None), b=(1, None))
    won = await race(FixedFeed("ab"), attempts, discard=discard)
    assert [won, *discarded] in (["a"], ["b"], ["a", "b"], ["b", "a"])
    assert len(attempts.cancelled) + 1 + len(discarded) == 2


async def test_a_caller_that_is_cancelled_with_the_victory_leaves_nothing(autojump_clock: trio.testing.MockClock):
    discarded = []

    async def attempt(place: str) -> str:
        scope.cancel()
        return place

    async def discard(place: str) -> None:
        discarded.append(place)

    with trio.CancelScope() as scope:
        await race(FixedFeed("a"), attempt, discard=discard)
    assert scope.cancelled_caught
    assert discarded == ["a"]


async def collect(feed: AddressFeed) -> list[object]:
    found = []
    while (address := await feed.next()) is not None:
        found.append(address)
    return found


async def test_versions_alternate_the_preferred_one_first():
    feed = AddressFeed((6, 4))
    feed.add(4, V4)
    feed.add(6, V6[:2])
    assert await collect(feed) == [V6[0], V4[0], V6[1], V4[1], V4[2]]


async def test_the_preferred_version_is_waited_for_a_moment(autojump_clock: trio.testing.MockClock):
    for delay, first in ((RESOLUTION_DELAY / 2, V6[0]), (RESOLUTION_DELAY * 2, V4[0])):
        feed = AddressFeed((6, 4))
        feed.add(4, V4)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _(feed: AddressFeed = feed, delay: float = delay) -> None:
                await trio.sleep(delay)
                feed.add(6, V6)

            assert await feed.next() == first


async def test_what_is_found_late_is_tried_still(autojump_clock: trio.testing.MockClock):
    feed = AddressFeed((6, 4))
    feed.add(6, V6[:1])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            await trio.sleep(5)
            feed.add(4, V4[:1])

        assert await collect(feed) == [V6[0], V4[0]]


async def test_a_name_without_addresses_ends_at_once():
    feed = AddressFeed((6, 4))
    feed.add(6, [])
    feed.add(4, [])
    assert await feed.next() is None


@pytest.mark.parametrize(
    ("addresses", "versions"),
    [
        (["10.7.0.2"], (4,)),
        (["10.7.0.2", "fd07::2"], (4, 6)),
        (["10.7.0.2", "2a00::2"], (6, 4)),
        (["fd07::2"], (6,)),
    ],
)
def test_ipv6_is_preferred_where_it_is_of_the_internet(addresses: list[str], versions: tuple[int, ...]):
    assert order_versions(list(map(ip_address, addresses))) == versions


class Names:
    """Looks up what it was told."""

    def __init__(self, answers: dict[int, list[object] | OSError | None]) -> None:
        self.answers = answers

    async def resolve(self, host: str, version: int) -> list[object]:
        answer = self.answers[version]
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, OSError):
            raise answer
        await trio.lowlevel.checkpoint()
        return answer


class Opened(trio.abc.AsyncResource):
    def __init__(self, address: object) -> None:
        self.address = address

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def opener(*dead: object) -> Callable[[object], Awaitable[Opened]]:
    async def attempt(address: object) -> Opened:
        await trio.lowlevel.checkpoint()
        if address in dead:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"{address} refused")
        return Opened(address)

    return attempt


async def test_a_version_whose_look_up_hangs_does_not_hold_the_other_up(autojump_clock: trio.testing.MockClock):
    with trio.fail_after(1):
        opened = await dial_host(Names({4: V4, 6: None}), "host.example", (6, 4), opener())
    assert opened.address == V4[0]


async def test_the_other_version_is_tried_when_the_preferred_one_does_not_answer():
    opened = await dial_host(Names({4: V4, 6: V6}), "host.example", (6, 4), opener(*V6))
    assert opened.address == V4[0]


async def test_what_was_found_and_did_not_answer_is_told_first():
    names = Names({4: V4[:1], 6: OSError("no such name")})
    with pytest.raises(ConnectionRefusedError):
        await dial_host(names, "host.example", (6, 4), opener(*V4))


async def test_a_name_that_was_not_found_is_told_as_that():
    names = Names({4: OSError("no such name"), 6: OSError("no such name")})
    with pytest.raises(OSError, match="no such name"):
        await dial_host(names, "host.example", (6, 4), opener())


async def test_an_address_is_dialled_without_a_look_up():
    assert (await dial_host(Names({}), "192.0.2.1", (6, 4), opener())).address == V4[0]

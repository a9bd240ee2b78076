"""A device that gets no answer tries the next port, parameters and generation, and leaves alone what works."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from pharos.caravel.tunnel.seeking import FIRST_LOOK, LOOK_EVERY, SILENT_LOOKS, Try, seek
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.params import ObfuscationParameters
from tests.support.strategies import parameters_of

PATIENCE = SILENT_LOOKS * LOOK_EVERY
FIRST, OTHER, NEXT = (
    Try(
        parameters=parameters_of(seed),
        peer=PeerConfig(
            public_key=b"n" * 32,
            preshared_key=bytes([generation]) * 32,
            allowed_ips=(ipaddress.ip_network("0.0.0.0/0"),),
            endpoint=("203.0.113.7", port),
        ),
    )
    for seed, generation, port in ((1, 1, 443), (2, 1, 8443), (1, 2, 443))
)


@attrs.define
class Line:
    """A tunnel's end, and what the node at the other makes of it at each moment."""

    answers: Callable[[Try], bool]
    """Whether the node answers who tries so."""
    sends: bool = True
    up: bool = True
    now: Try = FIRST
    received: int = 0
    sent: int = 0
    tried: list[Try] = attrs.field(factory=list)
    initiated: int = 0

    def status(self, key: bytes) -> PeerStatus:
        """Look, a while after the last time."""
        answered = self.answers(self.now)
        if self.sends or not answered:
            # Whoever has no session sends initiations all the time.
            self.sent += 1
            self.received += answered
        return PeerStatus(
            public_key=key,
            endpoint=None,
            last_handshake_ns=1 if answered else None,
            session_age=1.0 if answered else None,
            received_bytes=self.received,
            sent_bytes=self.sent,
        )

    def set_parameters(self, parameters: ObfuscationParameters) -> None:
        self.now = attrs.evolve(self.now, parameters=parameters)

    def set_peer(self, config: PeerConfig) -> None:
        self.now = attrs.evolve(self.now, peer=config)
        self.tried.append(self.now)

    def remove_peer(self, key: bytes) -> None:
        assert key == self.now.peer.public_key
        self.received = self.sent = 0

    def initiate_handshake(self, key: bytes) -> None:
        assert key == self.now.peer.public_key
        self.initiated += 1


@asynccontextmanager
async def seeking(line: Line) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(seek, line, [FIRST, OTHER, NEXT])
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("there", "tried"), [(OTHER, [OTHER]), (NEXT, [OTHER, NEXT])], ids=["port", "generation"])
async def test_silence_moves_on_and_an_answer_stays(
    autojump_clock: trio.testing.MockClock, there: Try, tried: list[Try]
) -> None:
    line = Line(answers=lambda now: now == there)
    async with seeking(line):
        await trio.sleep(FIRST_LOOK - 1)
        assert line.tried == []
        await trio.sleep(100 * PATIENCE)
        assert (line.tried, line.initiated) == (tried, len(tried))


async def test_silence_of_all_is_tried_in_turns_once_in_haste_and_then_with_patience(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = Line(answers=lambda _: False)
    async with seeking(line):
        await trio.sleep(3 * FIRST_LOOK + 1)
        assert line.tried == [OTHER, NEXT, FIRST]
        await trio.sleep(PATIENCE - 2)
        assert len(line.tried) == 3
        await trio.sleep(2)
        assert line.tried[3:] == [OTHER]


async def test_node_that_was_heard_is_not_left_in_haste(autojump_clock: trio.testing.MockClock) -> None:
    line = Line(answers=lambda _: line.up)
    async with seeking(line):
        await trio.sleep(10 * LOOK_EVERY)
        line.up = False
        # One look in silence is not enough.
        await trio.sleep(LOOK_EVERY)
        assert line.tried == []
        await trio.sleep(LOOK_EVERY)
        assert line.tried == [OTHER]


@pytest.mark.parametrize("sends", [True, False], ids=["busy", "idle"])
async def test_what_works_is_left_alone(autojump_clock: trio.testing.MockClock, *, sends: bool) -> None:
    line = Line(answers=lambda now: now == FIRST, sends=sends)
    async with seeking(line):
        await trio.sleep(100 * PATIENCE)
        assert (line.tried, line.initiated) == ([], 0)

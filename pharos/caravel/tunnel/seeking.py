"""The many ways to one AmneziaWG peer: ports, parameters and generations, tried in turn while it is silent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Protocol

import attrs
import trio

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.units import SECONDS

# An initiation is repeated every five seconds: each try has three chances on a line that loses packets.
LOOK_EVERY: Final = 7.5 * SECONDS
SILENT_LOOKS: Final = 2
# Before anything was heard each way gets one initiation and the round trip of the worst line that we promise to work on
# (security.md §3: 2 s), so that a device with an old profile is not long in finding where its node went.
FIRST_LOOK: Final = 2.5 * SECONDS


@attrs.frozen(kw_only=True)
class Try:
    """One way to reach a node: where and how it listens, and with which of the secrets."""

    parameters: ObfuscationParameters
    peer: PeerConfig


class Seeker(Protocol):
    """What `seek` moves: a tunnel with one peer."""

    def set_parameters(self, parameters: ObfuscationParameters) -> None: ...
    def set_peer(self, config: PeerConfig) -> None: ...
    def remove_peer(self, public_key: bytes) -> None: ...
    def initiate_handshake(self, public_key: bytes) -> None: ...
    def status(self, public_key: bytes) -> PeerStatus: ...


def dial(engine: Seeker, way: Try) -> None:
    """Reach the peer by a way, as if it had never been reached before.

    As a new peer it is dialled now. The one before may just have begun a handshake, and would wait 5 s.
    """
    key = way.peer.public_key
    engine.set_parameters(way.parameters)
    engine.remove_peer(key)
    engine.set_peer(way.peer)
    engine.initiate_handshake(key)


async def seek(
    engine: Seeker,
    tries: Sequence[Try],
    *,
    hasty: bool = True,
    took: Callable[[Try], None] = lambda _: None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Try the next of ``tries`` whenever the node has been silent for too long, and stay with what it answers.

    All are the same node, by the same key; the first is in use. They differ in port and parameters, for those of a
    profile may have been re-issued since; and in the generation of the preshared key, for the node takes the next one
    into use once this device has acknowledged it, whether or not we hear of that (security.md §2d).

    ``hasty``: nothing has been heard of it lately, and each gets a short look until something is. ``took`` is told what
    is tried.
    """
    task_status.started()
    key = tries[0].peer.public_key
    tried, silent, first_round = 0, 0, hasty
    before = engine.status(key)
    while True:
        await trio.sleep(FIRST_LOOK if first_round else LOOK_EVERY)
        now = engine.status(key)
        answered = now.received_bytes > before.received_bytes
        idle = now.session_age is not None and now.sent_bytes == before.sent_bytes
        silent = 0 if answered or idle else silent + 1
        before = now
        if silent >= (1 if first_round else SILENT_LOOKS) and len(tries) > 1:
            silent, tried = 0, (tried + 1) % len(tries)
            first_round = first_round and tried != 0
            dial(engine, tries[tried])
            took(tries[tried])
            before = engine.status(key)
        elif answered:
            first_round = False

"""A relay in other hands, as a program: it runs by what was on a stolen beacon's disk, and says all that it sees.

``python -m tests.journeys.evilrelay STATE [cut]``: passages go on as they come, or are ended at their first frame. Each
line of its output is one of JSON: the header fields of a passage, as a device sent them, or a frame in hex.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any, Final

import trio
from grpclib.exceptions import StreamTerminatedError

from pharos.caravel.profiles.store import ProfileStore
from pharos.wire.daemon import run_daemon
from pharos.wire.rpc.h2stream import H2Stream, Headers
from pharos.wire.seal.ticket import TicketLink
from pharos.wire.world import utc_now
from tests.journeys.thief import INGRESS_PORT, TUNNEL_PORT
from tests.support.evilbeacon import EvilBeacon

PASSAGE: Final = "passage"
FRAME: Final = "frame"


def say(kind: str, what: Any) -> None:
    print(json.dumps({kind: what}), flush=True)


class Reader(EvilBeacon):
    """Reads every frame, and passes it on unless it cuts."""

    host = "0.0.0.0"

    def __init__(self, state: Path, *, cut: bool) -> None:
        super().__init__(state)
        self._cut = cut
        self.edit_up = self.edit_down = lambda: self.read

    def read(self, _number: int, frame: bytes) -> list[bytes | None]:
        say(FRAME, frame.hex())
        if self._cut:
            raise StreamTerminatedError("the relay cuts it off")
        return [frame]

    def request_headers(self, down: H2Stream) -> Headers:
        headers = super().request_headers(down)
        say(PASSAGE, [f"{name}: {value}" for name, value in headers])
        return headers


def seen_in(log: Path) -> tuple[int, bytes]:
    """Return how many passages a relay has had, and all that it could read of them."""
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    passages = [one[PASSAGE] for one in entries if PASSAGE in one]
    frames = b"".join(bytes.fromhex(one[FRAME]) for one in entries if FRAME in one)
    return len(passages), json.dumps(passages).encode() + frames


def profile_of(device: Path) -> bytes:
    """Return what a device has been told, as it reads it."""
    return repr(ProfileStore(device).profile(utc_now())).encode()


def canaries(device: Path, ticket: str) -> dict[str, bytes]:
    """Return what of a device's joining is nobody's business but its own and helm's."""
    enrolled = ProfileStore(device).enrolled()
    return {
        "the device": str(enrolled.device_id).encode(),
        "its key": enrolled.secrets.awg.private_bytes(),
        "its certificate": enrolled.certificate,
        "a node's name": b"buoya",
        "a node's address": b"203.0.113.10",
        "the ticket's secret": TicketLink.parse(ticket).secret,
    }


async def run(state: Path, *, cut: bool, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Be that relay until stopped."""
    relay = Reader(state, cut=cut)
    await relay.run(state, ingress=INGRESS_PORT, tunnel=TUNNEL_PORT, task_status=task_status)


if __name__ == "__main__":
    run_daemon(functools.partial(run, Path(sys.argv[1]), cut=sys.argv[2:] == ["cut"]))

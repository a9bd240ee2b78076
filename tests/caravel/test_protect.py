"""No socket of caravel's leaves the machine unseen: the interpreter itself says which ones do (PEP 578)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from tests.caravel.test_realityfleet import member

PROGRAM = """
import json, socket, sys
from pathlib import Path

import trio

from pharos.caravel import open_client
from pharos.caravel.reach import Reach
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY

OUTSIDE = (socket.AF_INET, socket.AF_INET6)
protected, used, unseen = set(), [], []
weakened = "weakened" in sys.argv


def protect(sock):
    protected.add(id(sock))
    kept.append(sock)  # No other socket gets its number.


def listen(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and args[0].family in OUTSIDE:
        used.append(event)
        if id(args[0]) not in protected:
            unseen.append(f"{event} to {args[1]}")


kept = []
sys.addaudithook(listen)


async def main():
    seen = {"protect": (lambda sock: None) if weakened else protect}
    async with open_client(Path(sys.argv[1])) as client:
        await client.sync(Reach(**seen))
        for protocol in (AMNEZIAWG, VLESS_REALITY):
            before = len(used)
            async with client.connect(protocol=protocol, inner="netstack", **seen) as tunnel:
                await tunnel.wait_up(30)
                assert (await tunnel.ping(1)).received == 1
            assert len(used) > before, f"{protocol} goes by sockets"


trio.run(main)
print(json.dumps({"used": len(used), "unseen": unseen}))
"""


@pytest.mark.parametrize("weakened", [False, True])
async def test_every_socket_that_leaves_was_shown(tmp_path: Path, weakened: bool) -> None:
    async with member(tmp_path) as (fleet, _):
        words = [
            sys.executable,
            "-c",
            PROGRAM,
            str(fleet.folder / "device-laptop"),
            *(["weakened"] if weakened else []),
        ]
        with trio.fail_after(90):
            done = await trio.run_process(words, capture_stdout=True, capture_stderr=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        told = json.loads(done.stdout)
        assert told["used"] >= 3
        # A protect that notes nothing is what a path around it would look like.
        assert bool(told["unseen"]) is weakened, told

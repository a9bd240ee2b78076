"""How long after its commit has every open page seen a change? Real sockets, the pages in a process of their own.

Run as a module this is that process.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
import wsproto
from wsproto.events import AcceptConnection, Request

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests
from bench.support import Worker, percentile, workers
from pharos.helm.live.board import now_us
from pharos.helm.live.follow import run_feed
from pharos.helm.model.admins import Role
from pharos.helm.model.users import User
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.outbox import last_sequence
from pharos.helm.store.records import add_record, change_record, get_record
from pharos.helm.store.users import USERS
from pharos.helm.web.app import make_loopback_app
from pharos.helm.web.live import MAX_PER_SESSION
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import LOOPBACK, serving
from tests.support.signin import sign_in

HOST: Final = "localhost:8440"
# Records that take turns, as people edit different things.
_USERS: Final = 32


def measure_ws(clients: int = 50, rate: int = 200, seconds: float = 10) -> float:
    """Return the 95th percentile, in milliseconds, of the time from a commit to each page's having the change.

    ``clients`` pages of two roles are open while ``rate`` changes a second are made. The clock starts when the commit
    is acknowledged to whoever made the change.

    Raises: RuntimeError — a page missed a change.
    """
    with workers() as start, tempfile.TemporaryDirectory() as folder:
        pages = start("bench._record_live")
        return trio.run(partial(_measure, Path(folder), pages, clients, rate, seconds))


async def _measure(folder: Path, pages: Worker, clients: int, rate: int, seconds: float) -> float:
    async with open_helm(folder) as helm, trio.open_nursery() as nursery:
        await nursery.start(run_feed, helm.store, helm.context.hub)
        async with serving(make_loopback_app(helm.context, {HOST})) as port:
            for number in range(0, clients, MAX_PER_SESSION):
                role = Role.VIEWER if number % (2 * MAX_PER_SESSION) else Role.OWNER
                headers = await sign_in(helm.context, name=f"admin {number}", role=role)
                await _ask(pages, task="open", port=port, headers=headers, count=min(MAX_PER_SESSION, clients - number))
            committed = await _change(helm, rate, seconds)
            seen = await _ask(pages, task="collect", committed=committed)
        nursery.cancel_scope.cancel()
    if seen["missed"]:
        raise RuntimeError(f"{seen['missed']} changes never reached one of {clients} pages")
    return float(seen["p95_ms"])


async def _ask(pages: Worker, **request: Any) -> dict[str, Any]:
    return await trio.to_thread.run_sync(partial(pages.ask, **request))


async def _change(helm: SampleHelm, rate: int, seconds: float) -> list[tuple[int, int]]:
    """Change users at an even rate; return each change's sequence, and when it was acknowledged (ns, common clock)."""
    users = [(await helm.store.run(_add, number)).id for number in range(_USERS)]
    committed: list[tuple[int, int]] = []

    async def change(number: int) -> None:
        sequence = await helm.store.run(_change_one, users[number % _USERS], number)
        committed.append((sequence, time.monotonic_ns()))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(round(rate * seconds)):
            await trio.sleep_until(began + number / rate)
            nursery.start_soon(change, number)
    return committed


def _add(db: Database, number: int) -> User:
    return add_record(db, USERS, User(id=fresh_id(), name=f"user {number}"), Act(actor="operator", at=now_us()))


def _change_one(db: Database, user_id: str, number: int) -> int:
    user = get_record(db, USERS, user_id)
    change_record(db, USERS, user.id, user.version, {"note": str(number)}, Act(actor="operator", at=now_us()))
    return last_sequence(db)


# -- the pages


class _Delta(msgspec.Struct):
    seq: int


class _Message(msgspec.Struct):
    sequence: int = 0
    deltas: list[_Delta] = []


class _Page:
    """One open page, as cheap as it can be: what is measured is helm."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.seen: dict[int, int] = {}
        """When each change arrived, in ns of the common clock."""
        self._stream = stream
        self._octets = bytearray()
        self._arrived = trio.Event()

    async def run(self) -> None:
        decode = msgspec.json.Decoder(_Message).decode
        while octets := await self._stream.receive_some():
            self._octets += octets
            while (text := self._take()) is not None:
                at = time.monotonic_ns()
                for delta in decode(text).deltas:
                    self.seen.setdefault(delta.seq, at)
                self._arrived.set()
                self._arrived = trio.Event()

    async def wait_seen(self, sequence: int) -> None:
        while sequence not in self.seen:
            await self._arrived.wait()

    def _take(self) -> bytes | None:
        """Return the payload of the next whole frame (RFC 6455 §5.2); a server's are not masked."""
        if len(self._octets) < 2:
            return None
        length, start = self._octets[1] & 127, 2
        if length > 125:
            width = 2 if length == 126 else 8
            length, start = int.from_bytes(self._octets[2 : 2 + width]), 2 + width
        if len(self._octets) < start + length:
            return None
        text = self._octets[0] & 15 == 1
        payload = bytes(self._octets[start : start + length])
        del self._octets[: start + length]
        return payload if text else b"{}"


async def _open_page(port: int, headers: list[tuple[str, str]]) -> _Page:
    machine = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    extra = [(name.encode(), value.encode()) for name, value in headers]
    stream = await trio.open_tcp_stream(LOOPBACK, port)
    await stream.send_all(machine.send(Request(host=HOST, target="/api/v1/live?snapshot=no", extra_headers=extra)))
    # The answer's head, and no octet of what may follow it.
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive_some(1)
    machine.receive_data(bytes(head))
    (event,) = machine.events()
    if not isinstance(event, AcceptConnection):
        raise RuntimeError(f"helm does not let a page in: {event}")
    return _Page(stream)


async def run_pages() -> None:
    """Open pages as asked, and say at last how late each change was at each of them."""
    pages: list[_Page] = []
    async with trio.open_nursery() as nursery:

        async def open_(*, port: int, headers: list[tuple[str, str]], count: int) -> dict[str, Any]:
            for _ in range(count):
                page = await _open_page(port, headers)
                pages.append(page)
                nursery.start_soon(page.run)
            return {}

        async def collect(*, committed: list[tuple[int, int]]) -> dict[str, Any]:
            last = max(sequence for sequence, _ in committed)
            with trio.move_on_after(10):
                for page in pages:
                    await page.wait_seen(last)
            late = [(page.seen.get(sequence), at) for page in pages for sequence, at in committed]
            seen = [(arrived - at) / 1e6 for arrived, at in late if arrived is not None]
            return {"p95_ms": percentile(seen, 95), "p50_ms": percentile(seen, 50), "missed": len(late) - len(seen)}

        say(ready=True)
        await answer_requests({"open": open_, "collect": collect})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run_pages)

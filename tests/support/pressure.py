"""A server under attack: what the attack costs it, and what a good client notices of it, measured in the same run.

The server is a process of its own, so that its CPU time and memory can be read; the good client is another, so that the
attackers, who run in the test, do not slow it down by sharing its loop. A test of a flood looks like this:

    async def flood(server: Pressured, *, task_status: trio.TaskStatus[None]) -> NoReturn:
        stream = await server.dial()                # as a member of the fleet; server.connect() is TCP alone
        await stream.send_all(PREFACE + EMPTY_SETTINGS)
        task_status.started()                       # from here on what is measured is measured under attack
        while True:
            await stream.send_all(PINGS)

    async def attacked(**overrides: object) -> tuple[Latency, Latency, float]:
        async with pressured_server(overrides) as server:
            idle = await server.good_client()
            mark = server.mark()
            async with attacking(server, flood):
                under = await server.good_client()
            assert server.rss_growth(mark) < 8 * MIB
            return idle, under, server.cpu_share_since(mark)

    async def test_ping_flood_is_not_felt() -> None:
        idle, under, share = await attacked()
        assert under.failures == 0
        assert under.p50 <= 5 * idle.p50
        assert share < 0.5
        # The weakened build: the limit is none. A name is overridden where it is looked up.
        _, _, share = await attacked(**{"pharos.wire.rpc.limits.CONTROL_BURST": 1e9})
        assert share > 0.5

Attackers, server and client share the machine's few cores: compare latencies by ratios of five and more, or compare the
CPU time of the server, which does not depend on who else runs. Logs are in `Pressured.log`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from pharos.wire.rpc.transport import SecureStream
from pharos.wire.units import KIB
from tests.support.rpc import SERVER_NAME, Pems, ThrowawayCa, dial

ROOT = Path(__file__).resolve().parents[2]
# Starting an interpreter with all of ours takes a second; on a busy machine ten.
_START_TIMEOUT = 60.0
_ANSWER_TIMEOUT = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """One process of `tests.support.pressed`."""

    def __init__(self, process: trio.Process, log: Path) -> None:
        self.process = process
        self.log_path = log
        self._rest = b""

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Have one thing done, and return what the process says of it."""
        assert self.process.stdin is not None
        with trio.fail_after(_ANSWER_TIMEOUT):
            await self.process.stdin.send_all(json.dumps(request).encode() + b"\n")
            return await self.read()

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            data = await self.process.stdout.receive_some()
            assert data, f"a process ended: {self.log_path.read_text()[-2000:]}"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def running(role: str, folder: Path, **setting: Any) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """Run a process while the block lasts; gives what it said when it was ready."""
    log = folder / f"{role}.log"
    with log.open("wb") as stderr:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tests.support.pressed", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        try:
            child = Process(process, log)
            with trio.fail_after(_START_TIMEOUT):
                ready = await child.ask(**setting)
            yield child, ready
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@attrs.frozen
class Latency:
    """What a good client met, in seconds; a call or dial that failed counts as infinite."""

    calls: list[float] = attrs.field(converter=sorted)
    """Unary calls on a connection that is up."""
    dials: list[float] = attrs.field(converter=sorted)
    """TCP, TLS and the first call."""

    @property
    def p50(self) -> float:
        return _quantile(self.calls, 0.5)

    @property
    def p99(self) -> float:
        return _quantile(self.calls, 0.99)

    @property
    def dial_p50(self) -> float:
        return _quantile(self.dials, 0.5)

    def within(self, ratio: float, idle: Latency) -> bool:
        """Whether median and p99 of the calls are no more than ``ratio`` times those of another round."""
        return self.p50 <= ratio * idle.p50 and self.p99 <= ratio * idle.p99

    @property
    def failures(self) -> int:
        return sum(taken == math.inf for taken in (*self.calls, *self.dials))


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


@attrs.frozen
class Mark:
    """What a process had used at a moment."""

    at: float
    """Seconds of Trio's clock."""
    cpu: float
    """Seconds, of user and system together."""
    rss: int
    """Octets."""


class Pressured:
    """The server, as a test and its attackers see it."""

    def __init__(
        self, process: Process, client: Process, ca: ThrowawayCa, pems: Pems, address: tuple[str, int]
    ) -> None:
        self._process, self._client = process, client
        self.ca = ca
        self.pems = pems
        """A member's certificate, which everybody may use."""
        self.address = address

    # -- attackers

    async def connect(self, source: str | None = None) -> trio.SocketStream:
        """Connect TCP and do no more, from any address of loopback's (127.0.0.0/8)."""
        return await trio.open_tcp_stream(*self.address, local_address=source)

    async def dial(self) -> SecureStream:
        """Connect, and shake hands as a member."""
        return await dial(self.ca, self.address, pems=self.pems)

    # -- the good client

    async def good_client(self, *, calls: int = 200, dials: int = 10) -> Latency:
        """Let it make calls on the connection it has had from the start, and then dial anew for some."""
        return Latency(**await self._client.ask(calls=calls, dials=dials))

    async def good_client_beside(self, idle: Latency, *, ratio: float, calls: int = 300, dials: int = 3) -> Latency:
        """Measure it beside an attack: at most three times, until its median and p99 are within ``ratio`` of idle.

        What else the machine does then does not decide; a call that fails counts in whichever round it did.
        """
        for _ in range(2):
            under = await self.good_client(calls=calls, dials=dials)
            if under.failures or under.within(ratio, idle):
                return under
        return await self.good_client(calls=calls, dials=dials)

    # -- what it costs

    def mark(self) -> Mark:
        """Note what the server has used so far."""
        process = Path("/proc") / str(self._process.process.pid)
        # proc(5): utime and stime are fields 14 and 15, counted from 1; the second, the name, may have blanks in it.
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        return Mark(at=trio.current_time(), cpu=cpu, rss=int(status["VmRSS"].split()[0]) * KIB)

    def cpu_since(self, mark: Mark) -> float:
        """Return seconds of CPU time."""
        return self.mark().cpu - mark.cpu

    def cpu_share_since(self, mark: Mark) -> float:
        """Return how much of one core the server has used."""
        return self.cpu_since(mark) / (trio.current_time() - mark.at)

    def rss_growth(self, mark: Mark) -> int:
        """Return octets, negative if it has shrunk."""
        return self.mark().rss - mark.rss

    # -- what it does

    async def handlers(self) -> dict[str, int]:
        """Return how many handlers are ``running``, the ``most_running`` so far, and how many were ``cancelled``."""
        return await self._process.ask(do="report")

    async def take_all_files(self) -> int:
        """Let something else in the server's process take all descriptors that are left; return how many."""
        taken: int = (await self._process.ask(do="fill"))["held"]
        return taken

    async def free_files(self) -> None:
        """Give those back."""
        await self._process.ask(do="free")

    @property
    def log(self) -> list[str]:
        """What it has logged."""
        return self._process.log_path.read_text().splitlines()


@asynccontextmanager
async def pressured_server(
    overrides: Mapping[str, Any] | None = None,
    *,
    files: int | None = None,
    anonymous: bool = False,
    idle_timeout: float | None = None,
) -> AsyncIterator[Pressured]:
    """Run a server and a good client, each a process, while the block lasts.

    ``overrides`` weakens the server: dotted names, set before it serves. ``files`` is its RLIMIT_NOFILE; ``anonymous``
    lets in peers without a certificate; ``idle_timeout`` is what `serve_connection` takes.
    """
    ca = ThrowawayCa()
    pems, own = ca.issue("client.test"), ca.issue(SERVER_NAME)
    trust = ca.certificate.decode()
    with tempfile.TemporaryDirectory(prefix="pharos-pressure-") as folder:
        async with running(
            "server",
            Path(folder),
            overrides=dict(overrides or {}),
            files=files,
            anonymous=anonymous,
            idle_timeout=idle_timeout,
            ca=trust,
            **_texts(own),
        ) as (server, ready):
            address = (str(ready["address"][0]), int(ready["address"][1]))
            async with running("client", Path(folder), address=address, ca=trust, **_texts(pems)) as (client, _):
                yield Pressured(server, client, ca, pems, address)


def _texts(pems: Pems) -> dict[str, str]:
    return {"certificate": pems.certificate.decode(), "key": pems.key.decode()}


class Attack(Protocol):
    """Attacks until it is cancelled, or its way of attacking ends; ``started`` says that it is at full strength."""

    async def __call__(self, server: Pressured, /, *, task_status: trio.TaskStatus[None]) -> object: ...


@asynccontextmanager
async def attacking(server: Pressured, attack: Attack, *, attackers: int = 1) -> AsyncIterator[None]:
    """Attack while the block lasts; it begins when all attackers have started."""
    async with trio.open_nursery() as nursery:
        for _ in range(attackers):
            await nursery.start(attack, server)
        yield
        nursery.cancel_scope.cancel()

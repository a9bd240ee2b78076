"""The Autobahn cases, by kosoku, against an echo that is served exactly as helm serves its feed.

Compression (12, 13) is off and stays off (row 42). Of the cases about limits and speed (9), those run whose messages
are within our 64 kB; the parser's own conformance beyond that is shown with a higher limit, once for each way in which
a long message can be cut.
"""

from __future__ import annotations

import asyncio

import kosoku
import pytest
import trio
from kosoku._kosoku import CaseResult
from quart import websocket
from quart_trio import QuartTrio

from pharos.helm.web import app as module
from pharos.wire.units import MIB
from tests.support.http import serving

CASES = [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)]
WITHIN_LIMIT = ["9.1.1", "9.2.1"]
LONG = ["9.1.3", "9.2.3", "9.3.5", "9.4.5", "9.5.3", "9.6.3"]
COMPRESSED = ["12.*", "13.*"]


def echo() -> QuartTrio:
    """What the cases want of a server: each message back, of its own kind."""
    app = QuartTrio(__name__, static_folder=None)

    @app.websocket("/")
    async def back() -> None:
        while True:
            message = await websocket.receive()
            # Quart has None for a message of no octets.
            await websocket.send(b"" if message is None else message)  # type: ignore[redundant-expr]

    return app


def fuzz(port: int, cases: list[str]) -> list[CaseResult]:
    """Run cases in a loop of their own, for kosoku is of asyncio."""
    asked = kosoku.run_fuzzingclient(f"ws://127.0.0.1:{port}/", cases=cases, exclude_cases=COMPRESSED, concurrency=8)
    try:
        return asyncio.run(_wait(asked))
    except kosoku.FailureError as error:
        return list(error.results)


async def _wait(asked: object) -> list[CaseResult]:
    results: list[CaseResult] = await asked  # type: ignore[misc]
    return results


async def failures(cases: list[str]) -> tuple[int, list[str]]:
    """Return how many cases ran, and those that did not hold."""
    with trio.fail_after(120):
        async with serving(echo()) as port:
            results = await trio.to_thread.run_sync(fuzz, port, cases)
    return len(results), [f"{one.case_id}: {one.result} {one.result_close}" for one in results if not one.passed]


async def test_autobahn_cases_pass() -> None:
    count, failed = await failures(CASES + WITHIN_LIMIT)
    assert failed == []
    assert count >= 245


async def test_long_messages_are_read_right_where_they_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MESSAGE", 16 * MIB)
    assert await failures(LONG) == (len(LONG), [])


async def test_long_messages_are_what_the_limit_refuses() -> None:
    count, failed = await failures(LONG)
    assert (count, len(failed)) == (len(LONG), len(LONG))

"""The server under the web application: what happens to a connection after its answer."""

from __future__ import annotations

import h11
import pytest
import trio
from quart_trio import QuartTrio

from pharos.helm.web.server import LINGER, Connection
from tests.support.http import LOOPBACK, serving

# The app's task is cancelled or not by which of two tasks runs first, so one try in two finds nothing.
TRIES = 20


def make_app() -> QuartTrio:
    app = QuartTrio(__name__)

    @app.patch("/refused")
    async def refuse() -> tuple[str, int]:
        return "say which version you saw", 428

    return app


async def ask_without_body(port: int) -> h11.Response:
    """Announce a body, read the answer to the connection's end, and only then send the body."""
    client = h11.Connection(h11.CLIENT)
    head = h11.Request(method="PATCH", target="/refused", headers=[("host", "x"), ("content-length", "2")])
    async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
        await stream.send_all(client.send(head) or b"")
        answer = None
        while data := await stream.receive_some():
            client.receive_data(data)
            while (event := client.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
                if isinstance(event, h11.Response):
                    answer = event
                if isinstance(event, h11.EndOfMessage):
                    break
        assert answer is not None
        return answer


async def test_answer_before_the_body_ends_the_connection_and_says_so() -> None:
    async with serving(make_app()) as port:
        for _ in range(TRIES):
            with trio.fail_after(3 * LINGER):
                answer = await ask_without_body(port)
            assert answer.status_code == 428
            assert dict(answer.headers)[b"connection"] == b"close"


async def test_end_of_a_connection_that_waits_in_the_apps_task_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the test above can fail: quart cancels that task when the answer is complete."""

    async def protocol_send(self: Connection, event: object) -> None:
        if type(event).__name__ == "Closed":
            self._finishing = True
            await self.stream.send_eof()
            self._task_group.spawn(self._linger)
        else:
            await send(self, event)  # type: ignore[arg-type]

    send = Connection.protocol_send
    monkeypatch.setattr(Connection, "protocol_send", protocol_send)
    async with serving(make_app()) as port:
        with pytest.raises(trio.TooSlowError):
            for _ in range(TRIES):
                with trio.fail_after(3 * LINGER):
                    await ask_without_body(port)

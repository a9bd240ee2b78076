"""`helm siem` with helm asleep, and what the doctor says of a sink that fails."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.cli import main
from pharos.helm.cli.doctor import examine
from pharos.helm.cli.siem import headers_in
from pharos.helm.store.database import open_store
from pharos.helm.store.sinks import note_failure
from pharos.wire.console import CommandError, Exit
from pharos.wire.findings import Level
from tests.support.commands import invoke, invoke_json
from tests.support.helm import open_helm
from tests.support.sinks import own_ca

SECRET = "s3cret-token"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "helm"
    state.mkdir(mode=0o700)

    async def prepare() -> None:
        async with open_helm(state):
            pass

    trio.run(prepare)
    return state


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[bytes]]]:
    """A receiver in a thread of its own, for a command runs a loop of its own."""
    posted: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
        server.shutdown()
        thread.join()


def test_sink_lives_and_goes(state: Path, tmp_path: Path, webhook: tuple[str, list[bytes]]) -> None:
    url, posted = webhook
    made = invoke_json(
        main, "siem", "add", "soc", "webhook", url, "--bearer-file", "-", "--state", state, stdin=f"{SECRET}\n"
    )
    assert (made["header_names"], made["sources"]) == (["Authorization"], ["audit", "events"])
    assert "acknowledged" in invoke(main, "siem", "test", "soc", "--state", state).output
    assert json.loads(posted[0])["records"][0]["name"] == "siem_test"
    ca = tmp_path / "ca.pem"
    ca.write_text(own_ca().pem)
    words = ("siem", "add", "lines", "syslog", "tls://127.0.0.1:1", "--source", "audit", "--ca-file", ca)
    assert invoke_json(main, *words, "--state", state)["own_ca"] is True
    shown: Any = invoke_json(main, "siem", "show", "soc", "--state", state)
    # What came after it: the test, and one more sink.
    assert (shown["url"], shown["behind"]) == (url, {"audit": 2, "events": 0})
    table = invoke(main, "siem", "list", "--state", state).output
    assert "2 audit" in table
    failed = invoke(main, "siem", "test", "lines", "--state", state)
    assert (failed.exit_code, "takes no records" in failed.output) == (Exit.UNREACHABLE, True)
    for verb, becomes in (("disable", "disabled"), ("enable", "enabled")):
        assert becomes in invoke(main, "siem", verb, "soc", "--state", state).output
    assert "removed" in invoke(main, "siem", "remove", "soc", "--yes", "--state", state).output
    gone = invoke(main, "siem", "show", "soc", "--state", state)
    assert (gone.exit_code, "helm siem list" in gone.output) == (Exit.FAILED, True)
    assert SECRET not in table + json.dumps([made, shown])


def test_headers_are_read_by_line_and_a_line_that_is_none_is_not_quoted() -> None:
    assert headers_in(f"X-Key: {SECRET}\n\nX-Other:2\n") == {"X-Key": SECRET, "X-Other": "2"}
    with pytest.raises(CommandError, match="line 2 of the headers file") as caught:
        headers_in(f"X-Key: a\n{SECRET}\n")
    assert SECRET not in str(caught.value)


def test_doctor_says_so_when_a_sink_fails_for_an_hour(state: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    assert not [finding for finding in examine(state, now=now) if finding.id.startswith("sink")]
    words = ("siem", "add", "soc", "webhook", "https://siem.example.org/hook", "--state", state)
    sink = invoke_json(main, *words)
    assert {finding.id: finding.level for finding in examine(state, now=now)}["sinks"] is Level.OK
    since = int((now - datetime.timedelta(minutes=59)).timestamp() * 1e6)
    with open_store(state) as store:
        trio.run(lambda: store.run(note_failure, sink["id"], "it answered 500", at=since))
    assert {finding.id: finding.level for finding in examine(state, now=now)}["sinks"] is Level.OK
    later = examine(state, now=now + datetime.timedelta(minutes=62))
    (finding,) = [finding for finding in later if finding.id.startswith("sink")]
    assert (finding.id, finding.level) == ("sink:soc", Level.PROBLEM)
    assert "2 hours: it answered 500" in finding.says
    invoke(main, "siem", "disable", "soc", "--state", state)
    assert not [f for f in examine(state, now=now + datetime.timedelta(hours=3)) if f.id.startswith("sink")]

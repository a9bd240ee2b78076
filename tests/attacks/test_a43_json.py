"""Row 43. Position: anybody who may speak to the API. Wants: a crash, a long stop, or a document with two meanings.

Countermeasure: 256 kB, and a strict reader; and no answer is ever a 5xx, whatever the description allows to be asked:
schemathesis, an independent reader of our own OpenAPI document, asks for all of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from pharos.helm.accounts.admins import add_token
from pharos.helm.errors import InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.pages import Query, list_page
from pharos.helm.web import requests
from pharos.helm.web.app import MAX_BODY, make_loopback_app
from pharos.helm.web.requests import load_strict
from pharos.wire.units import KIB
from tests.support.helm import open_helm
from tests.support.http import asking, serving
from tests.support.signin import sign_in

BAD = {
    "a number of a million digits": b'{"a": ' + b"9" * 1_000_000 + b"}",
    "a fraction of a million digits": b'{"a": 0.' + b"9" * 1_000_000 + b"}",
    "nesting": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a member twice": b'{"role": "viewer", "role": "owner"}',
    "a member twice, deeper": b'[{"a": {"b": 1, "b": 2}}]',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte-order mark": b'\xef\xbb\xbf{"a": 1}',
    "something behind it": b'{"a": 1} {"b": 2}',
    "nothing": b"",
}


@pytest.mark.parametrize("document", BAD.values(), ids=BAD)
def test_a43_document_with_no_meaning_or_two_is_refused_at_once(document: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequestError):
        load_strict(document)
    # A million digits take seconds of a plain reader, where it takes them at all.
    assert time.process_time() - began < 3 * 0.3


def test_a43_turns_red_with_a_plain_reader() -> None:
    """The proof that the test above can fail."""
    assert json.loads(BAD["a member twice"]) == {"role": "owner"}
    assert json.loads(BAD["NaN"])["a"] != json.loads(BAD["NaN"])["a"]
    with pytest.raises(UnicodeEncodeError):
        json.loads(BAD["half a surrogate pair"])["a"].encode()


def test_a43_own_words_are_read() -> None:
    document = {"a": [1, -2.5, None, True, "é\U0001f600"], "b": {"c": {}}, "__proto__": "a word like any other"}
    assert load_strict(json.dumps(document).encode()) == document
    assert load_strict(json.dumps(document, ensure_ascii=False).encode()) == document


async def test_a43_large_body_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_data: bytes) -> object:
        raise AssertionError("it was read")

    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        headers = [*await sign_in(helm.context), ("Content-Type", "application/json")]
        monkeypatch.setattr(requests, "load_strict", never)
        answer = await client.post("/api/v1/users", content=b" " * (MAX_BODY + KIB), headers=headers)
        assert answer.status_code == 413


def make_token(db: Database) -> str:
    act = Act(actor="operator", at=now_us())
    owner = list_page(db, ADMINS, Query()).items[0]
    _token, text = add_token(db, act, owner.id, name="schemathesis", role=Role.OWNER)
    return text


async def test_a43_nothing_that_can_be_asked_is_a_server_error(tmp_path: Path) -> None:
    """Every operation, by somebody who may do everything."""
    hosts: set[str] = set()
    async with open_helm(tmp_path) as helm, serving(make_loopback_app(helm.context, hosts)) as port:
        hosts.add(f"127.0.0.1:{port}")
        await sign_in(helm.context)
        token = await helm.store.run(make_token)
        words = [
            *[sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/api/v1/openapi.json"],
            *["--header", f"Authorization: Bearer {token}", "--checks", "not_a_server_error", "--seed", "1"],
            # Few of each operation, for there are some ninety: half a minute.
            *["--phases", "fuzzing", "--max-examples", "3", "--continue-on-failure", "--request-timeout", "60"],
            *["--suppress-health-check", "all", "--warnings", "off", "--no-color"],
            # Signing out would end what the others ask with; it is a session's, and a token has none.
            *["--exclude-path", "/api/v1/session"],
        ]
        with trio.fail_after(300):
            done = await trio.run_process(words, capture_stdout=True, check=False, stderr=subprocess.STDOUT)
        report = done.stdout.decode()
        assert done.returncode == 0, report[-5000:]
        assert "Operations:" in report

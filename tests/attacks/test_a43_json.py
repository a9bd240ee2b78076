"""Row 43. Position: anybody who may speak to the API. Wants: a crash, a long stop, or a document with two meanings.

Countermeasure: 256 kB, and a strict reader.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pharos.helm.errors import InvalidRequestError
from pharos.helm.web import requests
from pharos.helm.web.app import MAX_BODY, make_loopback_app
from pharos.helm.web.requests import load_strict
from pharos.wire.units import KIB
from tests.support.helm import open_helm
from tests.support.http import asking
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


def test_a43_plain_reader_takes_what_the_strict_one_refuses() -> None:
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

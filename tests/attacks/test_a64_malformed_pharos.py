"""Row 64. Position: whoever hands somebody a ``.pharos`` file. Wants: a crash, an hour of Argon2, or two readings.

Countermeasure: 1 MiB at most, a version first, costs bounded before anything is derived, a header under the cipher, and
a closed schema in canonical JSON, of which there is one spelling. Whatever else comes is a `BundleError`.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.errors import SourceError
from pharos.caravel.sources.pharosfile import SealedSource, read_pharos_file
from pharos.wire.errors import BundleError, BundleFormatError, LocalProtocolError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.seal import filecontent, passphrase, pharosfile
from pharos.wire.seal.filecontent import decode_content, encode_content
from pharos.wire.seal.passphrase import KeyCost
from pharos.wire.seal.pharosfile import MAGIC, MAX_PHAROS_FILE, open_file, seal_file
from tests.support.strategies import junk_json, quick
from tests.wire.seal.test_pharosfile import COLLECTION, device
from tests.wire.seal.test_ticket import TEXT, TICKET

KEY = KeyPair.from_private_bytes(b"k" * 32)
CONTENTS = [encode_content(content) for content in (TICKET, COLLECTION, device())]
FILES = [
    *(seal_file(content, made=1) for content in CONTENTS),
    *(seal_file(content, made=1, recipient_key=KEY.public) for content in CONTENTS),
]
OTHER = TEXT.replace("203.0.113.7", "203.0.113.66")
# To one reader the first ticket, to another the second: a preview that shows the one, and an act that takes the other.
DOUBLED = b'{"ticket":"%s","ticket":"%s","v":1}' % (TEXT.encode(), OTHER.encode())


def asking(**cost: Any) -> bytes:
    """Return a file whose header asks for that cost."""
    fields = {"v": 1, "enc": "password", "alg": "argon2id+xchacha20poly1305", "made": 1}
    body = fields | {"salt": base64.b64encode(bytes(16)).decode(), "passes": 3, "octets": 1 << 26} | cost
    header = encode_canonical(body)
    return MAGIC + b"\x01" + len(header).to_bytes(2, "big") + header + bytes(24 + 4096 + 16)


def read(data: bytes) -> None:
    """Read a file as `caravel import` does, with every key there is."""
    found = read_pharos_file(data)
    if isinstance(found, SealedSource):
        found = found.open(passphrase="x", sealing_key=KEY)
    found.preview()


@pytest.mark.red_inside
def test_a64_a_loose_reader_would_read_one_file_in_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleFormatError):
        decode_content(DOUBLED)
    # Weakened: what was read is not compared with its one spelling.
    monkeypatch.setattr(filecontent, "decode_canonical", json.loads)
    monkeypatch.setattr(filecontent, "encode_content", lambda content: DOUBLED)
    assert decode_content(DOUBLED) != TICKET


@pytest.mark.red_inside
def test_a64_a_file_would_choose_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[KeyCost] = []

    def derive(cost: KeyCost, passphrase: str) -> bytes:
        derived.append(cost)
        return bytes(32)

    monkeypatch.setattr(KeyCost, "derive", derive)
    greedy = asking(octets=1 << 40, passes=10_000)
    with pytest.raises(BundleFormatError):
        open_file(greedy, passphrase="x")
    assert derived == []
    # Weakened: no bounds.
    for module, name in (
        (pharosfile, "MAX_FILE_OCTETS"),
        (pharosfile, "MAX_FILE_PASSES"),
        (passphrase, "MAX_OCTETS"),
        (passphrase, "MAX_PASSES"),
    ):
        monkeypatch.setattr(module, name, 1 << 62)
    with pytest.raises(BundleError):
        open_file(greedy, passphrase="x")
    assert [cost.octets for cost in derived] == [1 << 40]


@pytest.mark.red_inside
def test_a64_a_header_would_say_what_nobody_has_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = FILES[3]
    told = data.replace(b'"made":1', b'"made":2')
    assert told != data
    with pytest.raises(BundleError):
        open_file(told, sealing_key=KEY)
    # Weakened: neither the wrap nor the cipher knows the header.
    monkeypatch.setattr(pharosfile.hmac, "compare_digest", lambda *_: True)
    monkeypatch.setattr(pharosfile, "_CONTEXT", _Anything(data, told))
    assert open_file(told, sealing_key=KEY) == CONTENTS[0]


class _Anything(bytes):
    """A context after which every header is the one that was closed."""

    def __new__(cls, data: bytes, told: bytes) -> _Anything:
        made = super().__new__(cls, b"pharos/file/v1")
        made.closed, made.told = data, told  # type: ignore[attr-defined]
        return made

    def __add__(self, front: bytes) -> bytes:  # type: ignore[override]
        return bytes(self) + front.replace(b'"made":2', b'"made":1')


def test_a64_nothing_larger_than_a_file_is_looked_at() -> None:
    began = time.process_time()
    with pytest.raises(BundleFormatError, match="MiB"):
        read(FILES[0] + bytes(MAX_PHAROS_FILE))
    with pytest.raises(LocalProtocolError):
        seal_file(bytes(MAX_PHAROS_FILE), made=1)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("depth", [100, 10_000, 150_000])
def test_a64_depth_is_no_way_to_the_end_of_the_stack(depth: int) -> None:
    for nested in (b"[" * depth, b'{"a":' * depth, b'{"v":' + b"9" * depth + b"}"):
        with pytest.raises(BundleError):
            read(seal_file(nested, made=1))


@quick
@given(st.sampled_from(FILES), st.data())
def test_a64_a_file_that_was_changed_is_a_bundle_error(data: bytes, choice: st.DataObject) -> None:
    at = choice.draw(st.integers(0, len(data) - 1))
    end = choice.draw(st.integers(at, min(len(data), at + 40)))
    put = choice.draw(st.binary(max_size=40))
    changed = data[:at] + put + data[end:]
    if changed == data:
        return
    with pytest.raises(BundleError) as caught:
        read(changed)
    assert str(caught.value).isprintable()


@quick
@given(st.dictionaries(st.sampled_from(["v", "ticket", "device", "links", "confs", "x"]), junk_json, max_size=4))
def test_a64_whatever_is_closed_in_a_file_is_a_content_or_a_bundle_error(body: dict[str, Any]) -> None:
    try:
        content = encode_canonical(body)
    except ValueError:
        content = repr(body).encode("utf-8", "replace")
    with pytest.raises((BundleError, SourceError)):
        read(seal_file(content, made=1))

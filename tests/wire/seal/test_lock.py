"""A fleet lock's key survives paper, and what it signs is one node with its keys."""

from __future__ import annotations

import pytest

from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.seal.lock import LockKey, verify_node_lock

FLEET, NODE = FleetId("0123456789abcdef"), NodeId("n")
AWG, DERIVE = b"a" * 32, b"d" * 32


def test_key_survives_paper() -> None:
    key = LockKey.create()
    text = key.printed()
    assert len(text.replace("-", "")) == 56
    for copied in (text, text.lower(), text.replace("-", " "), f"  {text}\n"):
        assert LockKey.parse(copied).public == key.public


@pytest.mark.parametrize("text", ["", "AAAA", "é", "A" * 56, "1" * 56])
def test_slip_of_the_pen_is_found(text: str) -> None:
    with pytest.raises(LockError, match="copy all of its groups"):
        LockKey.parse(text)


def test_one_wrong_letter_is_found() -> None:
    text = LockKey.create().printed()
    wrong = ("B" if text[0] == "A" else "A") + text[1:]
    with pytest.raises(LockError):
        LockKey.parse(wrong)


def test_key_does_not_print() -> None:
    key = LockKey.create()
    assert key.printed() not in repr(key)


def test_signature_is_of_one_node_and_its_keys() -> None:
    key = LockKey.create()
    said = {"fleet": FLEET, "node": NODE, "awg_key": AWG, "derive_key": DERIVE, "lock_key": key.public}
    signature = key.sign_node(FLEET, NODE, awg_key=AWG, derive_key=DERIVE)
    verify_node_lock(signature, **said)  # type: ignore[arg-type]
    others = {
        "fleet": FleetId("0" * 16),
        "node": NodeId("m"),
        "awg_key": DERIVE,
        "derive_key": AWG,
        "lock_key": LockKey.create().public,
    }
    for name, other in others.items():
        with pytest.raises(LockError, match="not signed by the fleet lock"):
            verify_node_lock(signature, **(said | {name: other}))  # type: ignore[arg-type]
    for wrong in (b"", signature[:-1], bytes(64), signature + b"\0"):
        with pytest.raises(LockError):
            verify_node_lock(wrong, **said)  # type: ignore[arg-type]
    with pytest.raises(LockError):
        verify_node_lock(signature, **(said | {"lock_key": b"short"}))  # type: ignore[arg-type]

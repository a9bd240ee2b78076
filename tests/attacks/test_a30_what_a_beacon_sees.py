"""Row 30. Position: a beacon. Wants: to know what goes through it.

Accepted: it sees who, by certificate or ticket, from where, when and how much; docs/attacks.md says so. Everything else
lies in the Noise session, padded, so that neither names nor which call it is can be read off.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.caravel.enrolment import enroll
from pharos.caravel.sync import sync
from pharos.wire.noise.symmetric import TAG_LENGTH, CipherState
from pharos.wire.passage import records
from pharos.wire.passage.metadata import PURPOSE_HEADER
from pharos.wire.passage.records import MAX_FRAME, PADDING
from tests.support.evilbeacon import RelayFleet, fleet_behind
from tests.support.frameforward import Seen

DOCUMENT = Path(__file__).parents[2] / "docs" / "attacks.md"
NAME = "canary of a phone"

SAID = {":method", ":scheme", ":path", ":authority", "te", "content-type", "user-agent", PURPOSE_HEADER}
"""What of a device's request a beacon can read: the same for all, but for the purpose."""


async def enrol_and_sync(fleet: RelayFleet) -> tuple[list[Seen], dict[str, bytes]]:
    """Return what the beacon saw of a device's first day, and what of it nobody but helm should know."""
    ticket, store = await fleet.invite("a ticket's name"), fleet.device("phone")
    enrolled = await enroll(store, ticket, device_name=NAME)
    await sync(store)
    pairs = {use: getattr(enrolled.secrets, use).public for use in ("sealing", "derive", "noise", "awg")}
    canaries = {
        "name": NAME.encode(),
        "device id": enrolled.device_id.encode(),
        "ticket's proof": ticket.keys().proof,
        "ticket's secret": ticket.secret,
        "certificate": enrolled.certificate,
        **pairs,
    }
    return fleet.evil.seen, canaries


def found_in(seen: list[Seen], canaries: dict[str, bytes]) -> set[str]:
    """Which of these can be read in what went by."""
    everything = b"".join(repr(one.headers).encode() + b"".join(one.up + one.down) for one in seen)
    return {name for name, canary in canaries.items() if canary in everything or canary.hex().encode() in everything}


def sizes(seen: list[Seen]) -> set[int]:
    """Of frames after the handshake, without their tags."""
    return {len(frame) - TAG_LENGTH for one in seen for frame in one.up[1:] + one.down[1:]}


async def test_a30_beacon_reads_purpose_and_sizes_and_nothing_else(tmp_path: Path) -> None:
    async with fleet_behind(tmp_path) as fleet:
        seen, canaries = await enrol_and_sync(fleet)
        assert found_in(seen, canaries) == set()
        assert {name for one in seen for name, _ in one.headers} <= SAID
        purposes = [dict(one.headers)[PURPOSE_HEADER].partition(".")[0] for one in seen]
        assert purposes == ["enrol", "device"]
        assert all(size % PADDING == 0 or size + TAG_LENGTH == MAX_FRAME for size in sizes(seen))


async def test_a30_turns_red_without_encryption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the search finds what is there."""

    def encrypt(cipher: CipherState, _associated: bytes, plaintext: bytes) -> bytes:
        cipher.nonce += 1
        return plaintext + bytes(TAG_LENGTH) if cipher.has_key else plaintext

    def decrypt(cipher: CipherState, _associated: bytes, ciphertext: bytes) -> bytes:
        cipher.nonce += 1
        return ciphertext[:-TAG_LENGTH] if cipher.has_key else ciphertext

    monkeypatch.setattr(CipherState, "encrypt", encrypt)
    monkeypatch.setattr(CipherState, "decrypt", decrypt)
    async with fleet_behind(tmp_path) as fleet:
        seen, canaries = await enrol_and_sync(fleet)
        # The secret itself never leaves the device.
        assert found_in(seen, canaries) == set(canaries) - {"ticket's secret"}


async def test_a30_turns_red_without_padding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PADDING", 1)
    async with fleet_behind(tmp_path) as fleet:
        seen, _ = await enrol_and_sync(fleet)
        assert len(sizes(seen)) > 5
        assert not all(size % PADDING == 0 for size in sizes(seen))


def test_a30_what_it_sees_is_written_down() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    _, _, part = text.partition("## A beacon is stolen")
    seen, _, _ = part.partition("## ")
    for word in ("fingerprints", "client addresses", "times", "sizes (padded to 256 bytes", "the ticket's id"):
        assert word in seen.partition(".")[0], word
    assert "**Traffic analysis.**" in text

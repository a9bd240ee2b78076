"""The passage as a Trio stream: a Noise session with padding, notes and rekeying."""

from collections.abc import Callable

from pharos.wire.noise.handshake import Handshake
from pharos.wire.noise.stream import FrameTransport, NoiseStream
from pharos.wire.passage.records import PassageRecords

OnNote = Callable[[bytes], None]


def ignore_note(_note: bytes) -> None:
    """Take notes and do nothing with them."""


class PassageStream(NoiseStream):
    """One end of a passage; an inner gRPC connection runs on it, or nothing but notes.

    Notes are handed to ``on_note`` while somebody is receiving.
    """

    def __init__(self, frames: FrameTransport, handshake: Handshake, *, on_note: OnNote) -> None:
        records = PassageRecords(*handshake.split(), on_note=on_note)
        super().__init__(frames, records, handshake_hash=handshake.handshake_hash)
        self._seal_note = records.seal_note

    async def send_note(self, note: bytes) -> None:
        """Send one note of at most 16,353 octets, beside whatever ``send_all`` is doing."""
        await self._send_record(self._seal_note, note)

    async def wait_confirmed(self) -> None:
        """Receive one frame, which proves that the peer is there now; its data stays for ``receive_some``.

        Raises: trio.BrokenResourceError — the frame is refused (see ``failure``), or the carrier broke.
        """
        await self._receive_record()

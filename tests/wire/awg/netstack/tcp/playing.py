"""A peer that a test plays by hand against one connection of ours."""

from __future__ import annotations

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.connection import Connection
from pharos.wire.awg.netstack.tcp.options import Block, SynOptions, Timestamp
from pharos.wire.awg.netstack.tcp.segment import ACK, FIN, PSH, RST, SYN, Segment
from pharos.wire.awg.netstack.tcp.states import State
from tests.wire.awg.netstack.tcp.simulated import CONFIG, FLOW4, read_packet

ISN, PEER_ISN = 1_000, 900_000
MSS = 1380
SIZE = MSS - 12
"""Octets of a full segment of ours with its timestamp."""
OPTIONS = SynOptions(mss=MSS, scale=7, sack=True)


class Play:
    """Numbers are relative: the first octet of either side is 1, its SYN 0."""

    def __init__(self, connection: Connection, *, now: float = 0.0, timestamps: bool = True) -> None:
        self.connection = connection
        self.now = now
        self.timestamps = timestamps
        self.window = 0xFFFF
        self.stamp = 5_000
        self.echo = 0
        self.got: list[Segment] = []

    def segment(
        self,
        flags: int,
        *,
        seq: int = 1,
        ack: int | None = None,
        payload: bytes = b"",
        window: int | None = None,
        blocks: tuple[Block, ...] = (),
        timestamp: Timestamp | None = None,
        syn: SynOptions = SynOptions(),  # noqa: B008
    ) -> Segment:
        """Make a segment of the peer's."""
        if timestamp is None and self.timestamps and not flags & RST:
            timestamp = (self.stamp, self.echo)
        return Segment(
            80,
            40000,
            (PEER_ISN + seq) & 0xFFFFFFFF,
            0 if ack is None else (ISN + ack) & 0xFFFFFFFF,
            flags | (0 if ack is None else ACK),
            self.window if window is None else window,
            payload,
            timestamp,
            tuple(((ISN + left) & 0xFFFFFFFF, (ISN + right) & 0xFFFFFFFF) for left, right in blocks),
            syn,
        )

    def receives(self, flags: int = 0, **words: object) -> list[Segment]:
        """Let it receive a segment, and return what it answers."""
        self.connection.receive(self.segment(flags, **words), self.now)  # type: ignore[arg-type]
        return self.sends()

    def sends(self) -> list[Segment]:
        """Return what it sends now."""
        segments = [read_packet(packet) for packet in self.connection.take(self.now)]
        for segment in segments:
            if segment.timestamp is not None:
                self.echo = segment.timestamp[0]
        self.got += segments
        return segments

    def waits(self, seconds: float) -> list[Segment]:
        """Let time pass, deadline by deadline; return what it sends meanwhile."""
        until, segments = self.now + seconds, []
        while (at := self.connection.next_deadline()) <= until:
            self.now = max(self.now, at)
            self.connection.tick(self.now)
            segments += self.sends()
        self.now = until
        self.stamp += int(seconds * 1000)
        return segments

    def writes(self, size: int) -> list[Segment]:
        """Let the program write, and return what is sent."""
        assert self.connection.write(bytes(size), self.now) == size
        return self.sends()


def seq_of(segment: Segment) -> int:
    return (segment.seq - ISN) & 0xFFFFFFFF


def ack_of(segment: Segment) -> int:
    return (segment.ack - PEER_ISN) & 0xFFFFFFFF


def spans(segments: list[Segment]) -> list[tuple[int, int]]:
    """Return which octets segments carry."""
    return [(seq_of(each), seq_of(each) + len(each.payload)) for each in segments]


def words(segment: Segment) -> str:
    """Return its flags, as people write them."""
    names = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))
    return " ".join(name for flag, name in names if segment.flags & flag)


def dialled(config: TcpConfig = CONFIG, *, timestamps: bool = True) -> Play:
    """Return one that has dialled, its SYN sent."""
    play = Play(Connection.dial(FLOW4, config, isn=ISN, now=0.0), timestamps=timestamps)
    (syn,) = play.sends()
    assert words(syn) == "SYN"
    return play


def established(
    config: TcpConfig = CONFIG, *, timestamps: bool = True, syn: SynOptions = OPTIONS, window: int = 0xFFFF
) -> Play:
    """Return one that is established, after a round trip of 20 ms."""
    play = dialled(config, timestamps=timestamps)
    play.now = 0.02
    play.window = window
    (ack,) = play.receives(SYN, seq=0, ack=1, syn=syn)
    assert words(ack) == "ACK"
    assert play.connection.state is State.ESTABLISHED
    # What a SYN says of the window is not scaled yet.
    play.receives(ack=1)
    return play

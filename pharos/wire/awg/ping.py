"""Asks through a tunnel whether the other end is there."""

from typing import Final

import attrs
import trio

from pharos.wire.awg.icmp import Echo, InnerAddress, build_echo, parse_echo
from pharos.wire.awg.inner import InnerEnd
from pharos.wire.units import MILLISECONDS, SECONDS

PAYLOAD: Final = 56
"""Octets, what ping(8) sends by default."""
_MAX_COUNT: Final = 65536  # Sequence numbers there are.


@attrs.frozen(kw_only=True)
class PingReport:
    """What became of the echoes."""

    sent: int
    round_trips: tuple[float, ...]
    """Seconds, one for each reply, in order of arrival."""

    @property
    def received(self) -> int:
        return len(self.round_trips)

    @property
    def median(self) -> float | None:
        """Seconds; None if nothing came back."""
        ordered = sorted(self.round_trips)
        return ordered[len(ordered) // 2] if ordered else None


async def ping(
    link: InnerEnd,
    *,
    source: InnerAddress,
    destination: InnerAddress,
    count: int,
    interval: float = 20 * MILLISECONDS,
    patience: float = 2 * SECONDS,
    identifier: int = 1,
    payload: int = PAYLOAD,
) -> PingReport:
    """Send ``count`` echo requests, one every ``interval`` seconds, and report those that were answered.

    Returns with the last reply, at the latest ``patience`` seconds after the last request. While it runs it takes
    every packet that comes over ``link`` and drops what is not for it.
    """
    assert 0 < count <= _MAX_COUNT
    waiting: dict[int, float] = {}
    round_trips: list[float] = []

    async def send() -> None:
        for sequence in range(count):
            if sequence:
                await trio.sleep(interval)
            waiting[sequence] = trio.current_time()
            request = Echo(
                source=source,
                destination=destination,
                identifier=identifier,
                sequence=sequence,
                payload=bytes(payload),
            )
            link.send_packets_nowait([build_echo(request)])
        await trio.sleep(patience)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while len(round_trips) < count:
            for packet in await link.receive_packets():
                echo = parse_echo(packet)
                if echo is None or not echo.reply or (echo.source, echo.identifier) != (destination, identifier):
                    continue
                asked_at = waiting.pop(echo.sequence, None)
                if asked_at is not None:
                    round_trips.append(trio.current_time() - asked_at)
        nursery.cancel_scope.cancel()
    return PingReport(sent=count, round_trips=tuple(round_trips))

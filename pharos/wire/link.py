"""Keep one long-lived connection up: the three fates of a link and the back-off between dials."""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NoReturn, Protocol, TypeVar

import attrs
import trio

from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)
E = TypeVar("E", bound=Exception)

FIRST_DELAY: Final = 1 * SECONDS
# A node that is back is found within half a minute; 1,000 lost nodes at the cap with full jitter are 67 dials/s.
DELAY_CAP: Final = 30 * SECONDS
# A link that was up for so long is dialled anew as if for the first time.
STEADY: Final = 10 * SECONDS
# A crash is a bug of ours: retrying it quickly would only fill the log with the same traceback.
CRASH_COOL_DOWN: Final = 30 * SECONDS


class LinkState(enum.Enum):
    """Where a link stands, as operators see it."""

    CONNECTING = "connecting"
    UP = "up"
    LOST = "lost"
    REFUSED = "refused"
    CRASHED = "crashed"


class Link(Protocol):
    """A connection that is up."""

    async def run(self) -> None:
        """Serve the link until it ends.

        Raises: LinkLostError — the peer went away. LinkRefusedError — the peer said no.
        """
        ...


Dial = Callable[[], AbstractAsyncContextManager[Link]]
Report = Callable[[LinkState, str], None]


def ignore_report(_state: LinkState, _detail: str) -> None:
    """Take a link's reports and do nothing with them."""


@attrs.define(kw_only=True)
class Backoff:
    """Doubling delays with full jitter: each is uniform between zero and the doubled bound.

    Without the jitter all links of a fleet that were lost together would come back together.
    """

    random: Callable[[], float]
    """Uniform in [0, 1); ``lambda: 1.0`` makes the delays exact for tests."""
    first: float = FIRST_DELAY
    """Seconds: bound of the first delay."""
    cap: float = DELAY_CAP
    """Seconds: no bound grows beyond it."""
    _attempt: int = attrs.field(default=0, init=False)

    def next(self) -> float:
        """Return the seconds to wait before the next dial."""
        # The exponent stops growing long before a float overflows.
        bound = min(self.cap, self.first * 2.0 ** min(self._attempt, 64))
        self._attempt += 1
        return bound * self.random()

    def reset(self) -> None:
        """Start over, for the link is up."""
        self._attempt = 0


async def run_link(dial: Dial, *, backoff: Backoff, name: str, report: Report = ignore_report) -> NoReturn:
    """Keep one link up until cancelled, redialling whenever it is lost.

    ``dial`` yields a link that is up (the peer's SETTINGS have arrived, for a TLS 1.3 client sees a refused certificate
    only after its own handshake). ``report`` is told each change and must not block.

    Raises: LinkRefusedError — the peer answered and said no; not retried.
    """
    while True:
        report(LinkState.CONNECTING, "")
        delay = math.inf
        refused: LinkRefusedError | None = None
        # Not `except Exception`: a cancellation may arrive in one group with a lost link and has to go on alone.
        try:
            async with dial() as link:
                up_at = trio.current_time()
                report(LinkState.UP, "")
                try:
                    await link.run()
                finally:
                    # A peer that takes us in only to say no is not asked twice a second.
                    if trio.current_time() - up_at >= STEADY:
                        backoff.reset()
            raise LinkLostError("the peer closed the link")
        except* LinkRefusedError as group:
            refused = _first(group)
        except* LinkLostError as group:
            delay = backoff.next()
            lost = _first(group)
            log.info("link %s lost (%s); next dial in %.1f s", name, lost, delay)
            report(LinkState.LOST, str(lost))
        except* Exception as group:
            delay = max(delay if math.isfinite(delay) else 0.0, CRASH_COOL_DOWN)
            log.exception("link %s crashed; next dial in %.0f s", name, delay)
            report(LinkState.CRASHED, str(_first(group)))
        if refused is not None:
            log.warning("link %s refused: %s", name, refused)
            report(LinkState.REFUSED, str(refused))
            raise refused
        await trio.sleep(delay)


def _first(group: BaseExceptionGroup[E]) -> E:
    inner: E | BaseExceptionGroup[E] = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner

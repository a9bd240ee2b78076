"""Run a daemon: one Trio loop, signals that end it gently, logging, and systemd's notify protocol."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import trio

log = logging.getLogger(__name__)

# A beacon with 10,000 devices, and room for what else a process opens.
MAX_FILES: Final = 16_384
LOG_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


@attrs.frozen
class Notifier:
    """systemd's notification socket (sd_notify(3)); does nothing where there is none."""

    address: str | None
    watchdog: float = 0.0
    """Seconds within which systemd wants to hear of us each time (sd_watchdog_enabled(3)); 0: it does not."""

    @classmethod
    def from_environment(cls) -> Notifier:
        """Read where systemd listens; the variables are dropped, so that children do not notify in our name."""
        patience, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        watched = patience.isdecimal() and pid in ("", str(os.getpid()))
        return cls(os.environ.pop("NOTIFY_SOCKET", None), int(patience) / 1_000_000 if watched else 0.0)

    def send(self, state: str) -> None:
        """Send one assignment such as ``READY=1``; never blocks and never fails."""
        if self.address is None:
            return
        # A leading @ is an abstract socket (sd_notify(3)).
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(state.encode(), address)
            except OSError as error:
                log.debug("systemd could not be notified: %s", error)


def is_supervised() -> bool:
    """Whether systemd has started this process and waits to hear of it; to be asked before `run_daemon`."""
    return "NOTIFY_SOCKET" in os.environ


def set_up_logging(*, verbose: bool = False) -> None:
    """Log to standard error, one line a record; ``verbose`` adds DEBUG of our own packages."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr, force=True)
    set_verbose(verbose=verbose)
    # hpack logs every header field at DEBUG; hypercorn repeats its own start-up line.
    for noisy in ("hpack", "hypercorn.error", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def set_verbose(*, verbose: bool) -> None:
    """Log DEBUG of our own packages from now on, or not."""
    logging.getLogger("pharos").setLevel(logging.DEBUG if verbose else logging.INFO)


def raise_file_limit() -> None:
    """Allow this process as many descriptors as it may have: the soft limit is 1,024 by custom, a connection each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def tune_collector() -> None:
    """Let the cyclic garbage collector look less often than every 700 allocations.

    A helm with 1,000 links and 10,000 devices has 600,000 objects that stay: to look at all of them takes 400 ms, and
    with Python's own thresholds a cold start spends more than a third of its time on that and finds nothing. What
    young objects are held back by is some megabytes.
    """
    gc.set_threshold(20_000, 20, 50)


def run_daemon(main: Callable[..., Awaitable[None]]) -> None:
    """Run ``main(task_status=…)`` until SIGTERM or SIGINT, or to its own end; blocks.

    systemd hears READY once ``main`` has called ``started``, and from then on that the loop still turns. Exceptions of
    ``main`` propagate: systemd restarts us.
    """
    raise_file_limit()
    tune_collector()
    notifier = Notifier.from_environment()

    async def supervise() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(_watch_signals, nursery.cancel_scope, notifier)

            async def run_to_end(*, task_status: trio.TaskStatus[Any]) -> None:
                await main(task_status=task_status)
                nursery.cancel_scope.cancel()

            await nursery.start(run_to_end)
            notifier.send("READY=1")
            if notifier.watchdog:
                nursery.start_soon(_reassure, notifier)

    trio.run(supervise)


async def _reassure(notifier: Notifier) -> None:
    """Say so often that we are alive that one word may be late."""
    while True:
        notifier.send("WATCHDOG=1")
        await trio.sleep(notifier.watchdog / 3)


async def _watch_signals(
    scope: trio.CancelScope,
    notifier: Notifier,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            log.info("stopping on %s", signal.Signals(number).name)
            notifier.send("STOPPING=1")
            scope.cancel()

"""The command `pharos-awg`: one tunnel as a process of its own, in the place of wireguard-go and amneziawg-go.

It makes the interface, answers the UAPI and carries packets. Whoever told it what to be may come and go.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Final, NoReturn

import click
import trio

from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.engine import open_engine
from pharos.wire.awg.hostnet import HostNetwork, limit_gso
from pharos.wire.awg.tun import Tun, TunGoneError, open_tun
from pharos.wire.awg.uapiserver import DIRECTORIES, listen_uapi, serve_uapi
from pharos.wire.daemon import run_daemon, set_up_logging

log = logging.getLogger(__name__)

TCP_HEADERS_BYTES: Final = 52
"""In most packets of a stream: 20 of IPv4, 32 of TCP with timestamps."""
MAX_GSO_BYTES: Final = 65_536
"""Linux takes no higher limit for an interface like ours."""
_READY: Final = b"\n"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("interface")
@click.option("-f", "--foreground", is_flag=True, envvar="WG_PROCESS_FOREGROUND", help="Stay in the foreground.")
@click.option("--mtu", type=click.IntRange(576, 65535), default=DEFAULT_MTU, show_default=True, help="Bytes, inside.")
@click.option(
    "--sockets",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Directory to answer the UAPI in, instead of those of wg and awg; may be given several times.",
)
@click.option("--no-offload", is_flag=True, help="Carry packets one by one.")
def main(interface: str, mtu: int, sockets: tuple[Path, ...], *, foreground: bool, no_offload: bool) -> None:
    """Run a tunnel on a new TUN INTERFACE, to be told by wg, awg or whoever speaks the UAPI what it is.

    It ends when the interface is removed.

    \b
    Example:
      WG_QUICK_USERSPACE_IMPLEMENTATION=pharos-awg wg-quick up wg0
    """
    told = None if foreground else _detach()
    set_up_logging()

    async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await run_interface(
            interface, mtu=mtu, sockets=sockets or DIRECTORIES, offload=not no_offload, task_status=task_status
        )

    async def run_and_tell(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            if told is not None:
                _leave_terminal(told)
            task_status.started()

    failures: list[BaseException] = []
    try:
        run_daemon(run_and_tell)
    except* TunGoneError as gone:
        log.info("stopping: %s", _leaves(gone)[0])
    except* OSError as group:
        failures = _leaves(group)
    if failures:
        sys.exit("\n".join(f"{interface}: {error}" for error in failures))


async def run_interface(
    interface: str,
    *,
    mtu: int,
    sockets: tuple[Path, ...],
    offload: bool = True,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run one tunnel until cancelled.

    Raises: TunGoneError — the interface was removed. OSError — it, a port or a socket cannot be had.
    """
    index = 0

    def follow(changed: int, new_mtu: int | None) -> None:
        if changed == index and new_mtu is not None:
            engine.follow_mtu(new_mtu)
            tun.fit(new_mtu)
            _limit_gso(tun, new_mtu)

    network = HostNetwork(follow)
    with (
        open_tun(interface, mtu=mtu, is_local=network.is_local, offload=offload) as tun,
        open_engine(tun, mtu=mtu) as engine,
        listen_uapi(tun.name, sockets) as listeners,
    ):
        index = tun.index
        _limit_gso(tun, mtu)
        async with trio.open_nursery() as nursery:
            await nursery.start(network.run)
            nursery.start_soon(engine.run)
            await nursery.start(serve_uapi, engine, listeners)
            log.info("%s: ready, %s", tun.name, tun.offloads)
            task_status.started()
    raise AssertionError("an engine ends by cancellation or an error only")


def _limit_gso(tun: Tun, mtu: int) -> None:
    """Have Linux put together no more of a stream than one read brings and one call of the socket takes.

    At an MTU of 1,420 these are 44 packets; of the 47 that it would put together three would be a batch of their own.
    """
    try:
        limit_gso(tun.index, min(tun.most * (mtu - TCP_HEADERS_BYTES) + TCP_HEADERS_BYTES, MAX_GSO_BYTES))
    except OSError as error:
        log.debug("a stream comes in larger pieces: %s", error)


def _detach() -> int:
    """Go on as a daemon; the process that was started ends when the pipe that is returned is written to.

    It ends with code 1 when the daemon ends first.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        os._exit(0 if os.read(reading, 1) else 1)
    os.close(reading)
    os.setsid()
    return writing


def _leave_terminal(told: int) -> None:
    with Path(os.devnull).open("r+b") as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    os.write(told, _READY)
    os.close(told)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


if __name__ == "__main__":
    main()

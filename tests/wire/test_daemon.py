"""Daemons end gently on a signal, tell systemd how they are, and let what goes wrong propagate."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pharos.wire.daemon import MAX_FILES, Notifier, raise_file_limit, run_daemon, set_up_logging


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd listens on."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield listener


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_daemon_says_ready_then_stops_gently_on_a_signal(systemd: socket.socket, number: signal.Signals) -> None:
    told: list[bytes] = []
    ended: list[str] = []

    async def main(*, task_status: trio.TaskStatus[None]) -> None:
        assert "NOTIFY_SOCKET" not in os.environ, "a child must not notify in our name"
        task_status.started()
        told.append(await trio.to_thread.run_sync(systemd.recv, 100))
        os.kill(os.getpid(), number)
        try:
            await trio.sleep_forever()
        finally:
            ended.append("cleaned up")

    run_daemon(main)
    assert [*told, systemd.recv(100)] == [b"READY=1", b"STOPPING=1"]
    assert ended == ["cleaned up"]


@pytest.mark.parametrize(("pid", "watched"), [(None, True), ("own", True), ("1", False)])
def test_daemon_says_that_it_is_alive_as_often_as_systemd_wants_to_hear(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, pid: str | None, *, watched: bool
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)

    async def main(*, task_status: trio.TaskStatus[None]) -> None:
        assert not {"WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys(), "a child must not reassure in our name"
        task_status.started()
        heard = [await trio.to_thread.run_sync(systemd.recv, 100) for _ in range(4 if watched else 1)]
        assert heard == [b"READY=1", *[b"WATCHDOG=1"] * 3][: len(heard)]
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep_forever()

    run_daemon(main)
    if not watched:
        assert systemd.recv(100) == b"STOPPING=1"


def test_daemon_that_fails_to_start_is_never_ready(systemd: socket.socket) -> None:
    async def main(*, task_status: trio.TaskStatus[None]) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        run_daemon(main)
    systemd.settimeout(0)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


def test_failure_of_a_running_daemon_propagates() -> None:
    async def main(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        run_daemon(main)


def test_abstract_socket_is_reached() -> None:
    name = f"pharos-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        Notifier("@" + name).send("READY=1")
        listener.settimeout(0)
        assert listener.recv(100) == b"READY=1"


def test_nobody_listening_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier.from_environment().send("READY=1")
    Notifier(str(tmp_path / "gone")).send("READY=1")


@pytest.fixture
def own_root_logger() -> Iterator[None]:
    """Give pytest its handlers back: setting up logging replaces those of the root logger."""
    root, loggers = logging.getLogger(), [logging.getLogger(name) for name in ("pharos", "hpack", "hypercorn.error")]
    before, levels = (root.handlers[:], root.level), [logger.level for logger in loggers]
    yield
    root.handlers[:], root.level = before
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("own_root_logger")
@pytest.mark.parametrize("verbose", [False, True])
def test_verbose_adds_our_own_detail_and_nobody_elses(capsys: pytest.CaptureFixture[str], *, verbose: bool) -> None:
    set_up_logging(verbose=verbose)
    logging.getLogger("pharos.sample").debug("our detail")
    logging.getLogger("pharos.sample").info("our news")
    logging.getLogger("hpack.hpack").debug("a header field")
    logging.getLogger("somebody").debug("their detail")
    out, err = capsys.readouterr()
    assert out == "", "standard output belongs to results"
    assert ("our detail" in err) is verbose
    assert "INFO    pharos.sample: our news" in err
    assert "a header field" not in err
    assert "their detail" not in err


def test_daemon_may_open_as_many_files_as_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, pair: limits.append(pair))
    raise_file_limit()
    raise_file_limit()
    assert limits == [(1024, 4096), (4096, 4096)]
    limits.append((1024, resource.RLIM_INFINITY))
    raise_file_limit()
    assert limits[-1] == (MAX_FILES, resource.RLIM_INFINITY)

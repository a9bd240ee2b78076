"""The root helper as a process at a host of a lab, where connections of a user named by the test may be ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import attrs
import trio

from pharos.buoy.netpolicy import NetworkKeeper
from pharos.buoy.roothelper import codec
from pharos.buoy.roothelper.perform import Performer
from pharos.buoy.roothelper.server import serve_acts
from pharos.wire.daemon import run_daemon, set_up_logging
from pharos.wire.localsocket import listen_local

ANY_WORD = "any-word"
"""An argument that weakens it: whatever word is asked for is taken, where a member of an enum should stand."""


def main() -> None:
    folder, owner = Path(sys.argv[1]), int(sys.argv[2])
    set_up_logging()
    if ANY_WORD in sys.argv[3:]:
        codec._read_word = lambda _kind, body: SimpleNamespace(value=body)  # type: ignore[assignment, return-value]
        attrs.validators.set_disabled(True)

    async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        performer = Performer(NetworkKeeper(folder / "state"), owners=lambda: {owner})
        with listen_local(folder / "helper.sock", directory_mode=0o700) as listener:
            await serve_acts(performer.perform, listener, uids={os.getuid()}, task_status=task_status)

    run_daemon(run)


if __name__ == "__main__":
    main()

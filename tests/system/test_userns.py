"""An ordinary user gets Linux's TCP through a tunnel, where `/dev/net/tun` is open to him, as distributions have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "65534"

PROGRAM = """
import json, os
import trio
from pharos.caravel.tunnel.inner import open_inner, probe_userns
from tests.support.innernode import DEVICE_ADDRESSES, NODE, running_inner_node


async def main():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    before = sorted(os.listdir("/sys/class/net"))
    async with (
        running_inner_node() as node,
        open_inner("userns", addresses=DEVICE_ADDRESSES) as inner,
        node.leg(inner),
    ):
        with trio.fail_after(20):
            stream = await inner.streams.open_tcp_stream(str(NODE.ip), 7)
            await stream.send_all(b"no root")
            answer = await stream.receive_some(16)
            await stream.aclose()
        during = sorted(os.listdir("/sys/class/net"))
    rights, why = status["CapEff"].strip(), await probe_userns()
    print(json.dumps([os.getresuid(), rights, why, before == during, answer.decode()]))


trio.run(main)
"""

# Of a mount namespace's own: a device that everybody may open, and a way to an interpreter in somebody's home.
SCENE = """
set -e
cp -a /dev/net/tun "$1/tun"
chmod 666 "$1/tun"
mount --bind "$1/tun" /dev/net/tun
if [ "${2#/root/}" != "$2" ]; then
    mkdir "$1/python"
    mount --bind "$2" "$1/python"
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p "$2"
    mount --move "$1/python" "$2"
fi
exec setpriv --reuid "$3" --regid "$3" --clear-groups --bounding-set -all --no-new-privs "$4" -c "$5"
"""


def test_an_ordinary_user_gets_a_network_of_his_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", SCENE, "sh", str(tmp_path), sys.base_prefix, NOBODY, sys.executable),
            PROGRAM,
        ],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids, rights, why, unseen, answer = json.loads(done.stdout)
    assert (set(ids), int(rights, 16)) == ({int(NOBODY)}, 0)
    assert (why, answer) == ("", "no root")
    # Nobody else on this machine sees an interface of it.
    assert unseen

"""What `import pharos.caravel` costs, and on which systems it works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import pharos.caravel
from tests.caravel.test_proxy import link_to
from tests.support.innernode import DEVICE, NODE, running_inner_node
from tests.wire.reality.fronts import HOST, running_target
from tests.wire.reality.nodes import running_node, running_site, site_context

MISSING = ("fcntl", "termios", "pwd", "grp", "resource", "pharos.wire.awg.tun")
"""What Windows has not."""
RATIO = 1.3
ROUNDS = 5


def python(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_everything_that_is_named_is_there() -> None:
    for name in pharos.caravel.__all__:
        assert getattr(pharos.caravel, name) is not None
        assert name in dir(pharos.caravel)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pharos.caravel.nothing


def test_to_have_it_aboard_imports_nothing_that_takes_time() -> None:
    done = python("import sys, pharos.caravel; print([m for m in ('trio', 'attr', 'grpclib') if m in sys.modules])")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_to_have_it_aboard_takes_no_longer_than_what_it_stands_on() -> None:
    # The best of several each: a machine that does other things makes both longer, and not by the same.
    def best(text: str) -> float:
        clocked = f"import time; t = time.perf_counter(); {text}; print(time.perf_counter() - t)"
        return min(float(python(clocked).stdout) for _ in range(ROUNDS))

    assert best("import pharos.caravel") <= RATIO * best("import trio, grpclib.client, cryptography.x509, nacl.signing")


DEVICE_PROGRAM = """
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None

import ipaddress
import trio
import pharos.caravel
for name in pharos.caravel.__all__:
    getattr(pharos.caravel, name)
import pharos.caravel.cli
import pharos.caravel.enrolment
from pharos.caravel.tunnel.amnezialeg import open_amnezia_leg
from pharos.caravel.tunnel.amneziaplan import AmneziaPlan, WayIn
from pharos.caravel.tunnel.inner import open_inner
from pharos.caravel.tunnel.proxy import ProxyPlan, serve_proxies
from pharos.caravel.tunnel.realityways import open_link_reality
from pharos.wire.awg.params import PLAIN
from pharos.wire.reality.sharelink import ShareLink

told = json.loads(sys.argv[2])


async def say(stream, words):
    async with stream:
        await stream.send_all(words)
        return (await stream.receive_some()).decode()


async def by_amneziawg():
    plan = AmneziaPlan(
        name="node",
        private_key=bytes.fromhex(told["key"]),
        public_key=bytes.fromhex(told["node"]),
        ways=(WayIn(host="127.0.0.1", port=told["awg"], parameters=PLAIN, preshared_key=bytes(32)),),
    )
    addresses = [ipaddress.ip_interface(told["address"])]
    async with open_inner("netstack", addresses=addresses) as inner, open_amnezia_leg(plan, inner) as leg:
        await leg.wait_up(20)
        await leg.carry()
        return await say(await inner.streams.open_tcp_stream(told["host"], 7), b"through AmneziaWG")


async def by_reality():
    async with open_link_reality(ShareLink.parse(told["link"])) as tunnel, trio.open_nursery() as nursery:
        await tunnel.wait_up(20)
        bound = await nursery.start(serve_proxies, tunnel, ProxyPlan(socks=("127.0.0.1", 0)))
        stream = await trio.open_tcp_stream(*bound["socks"])
        await stream.send_all(b"\\x05\\x01\\x00")
        assert await stream.receive_some(2) == b"\\x05\\x00"
        host, port = told["target"]
        await stream.send_all(b"\\x05\\x01\\x00\\x01" + bytes(map(int, host.split("."))) + port.to_bytes(2, "big"))
        assert (await stream.receive_some(10))[:2] == b"\\x05\\x00"
        answer = await say(stream, b"through REALITY")
        nursery.cancel_scope.cancel()
    return answer


print(json.dumps([trio.run(by_amneziawg), trio.run(by_reality)]))
"""


async def test_tunnels_and_proxies_work_where_nothing_of_posix_is(tmp_path: Path) -> None:
    async with (
        running_inner_node() as node,
        running_site(site_context(tmp_path)) as site,
        running_node(site.port) as reality,
        running_target() as target,
    ):
        told = {
            "key": node.admit().hex(),
            "node": node.tunnel.public_key.hex(),
            "awg": node.tunnel.address[1],
            "address": str(DEVICE),
            "host": str(NODE.ip),
            "link": link_to(reality.port),
            "target": [HOST, target.port],
        }
        done = await trio.run_process(
            [sys.executable, "-c", DEVICE_PROGRAM, json.dumps(MISSING), json.dumps(told)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout) == ["through AmneziaWG", "through REALITY"]

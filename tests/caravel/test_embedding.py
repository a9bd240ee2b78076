"""The program in docs/guide/embedding.md joins a fleet and fetches a page through its node."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from pathlib import Path

import trio

from tests.support.fleet import running_fleet
from tests.support.reality import NAME
from tests.support.sites import running_tcp
from tests.wire.reality.nodes import running_site, site_context

PAGE = Path(__file__).resolve().parents[2] / "docs/guide/embedding.md"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def program() -> str:
    [text] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return str(text)


async def run(folder: Path, port: int, stdin: str) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, str(folder / "fetch.py"), str(folder / "device"), "127.0.0.1", str(port)]
    return await trio.run_process(words, stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False)


async def greet(stream: trio.SocketStream) -> None:
    asked = b""
    while b"\r\n\r\n" not in asked:
        asked += await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nasked for " + asked.split(b"\r\n")[0])


async def test_the_program_joins_once_and_fetches_through_the_node(tmp_path: Path) -> None:
    (tmp_path / "fetch.py").write_text(program())
    context = site_context(tmp_path)
    async with running_site(context) as site, running_tcp(greet) as port, running_fleet(tmp_path, buoys=()) as fleet:
        targets = {"value": [f"127.0.0.1:{site.port} {NAME}"]}
        await fleet.ask("PUT", "/api/v1/settings/reality.targets", targets, version=1)
        await fleet.add_buoy("amsterdam", reality_allowed=LOOPBACK)
        await fleet.wait_settled(peers=0)
        await fleet.wait_reality()
        done = await run(tmp_path, port, (await fleet.invite()).render() + "\n")
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode().endswith("asked for GET / HTTP/1.1\n")
        # It is in: no link is wanted any more, and helm is not either.
        await fleet.helm.stop()
        done = await run(tmp_path, port, "")
        assert (done.returncode, done.stdout.decode().splitlines()[0]) == (0, "HTTP/1.1 200 OK")


async def test_who_is_not_let_in_is_told_so_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "fetch.py").write_text(program())
    async with running_fleet(tmp_path, buoys=()) as fleet:
        link = (await fleet.invite()).render()
        [ticket] = (await fleet.ask("GET", "/api/v1/tickets"))["items"]
        await fleet.ask("POST", f"/api/v1/tickets/{ticket['id']}/withdraw", version=ticket["version"])
        done = await run(tmp_path, 1, link + "\n")
        assert done.returncode == 1
        assert done.stderr.decode().startswith("no way through the fleet: ")

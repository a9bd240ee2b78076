"""The program in docs/guide/embedding.md joins a fleet and fetches a page through its node."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from pathlib import Path

import trio
import trio_websocket

from tests.support.fleet import running_fleet
from tests.support.reality import NAME
from tests.support.sites import running_tcp
from tests.wire.reality.nodes import running_site, site_context

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/guide/embedding.md"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def program(name: str = "fetch.py") -> str:
    """Return the program of that name as the page has it."""
    texts = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    [text] = [text for text in texts if text.startswith(f"# {name}:")]
    return str(text)


def readme_program(state: str, host: str, port: int) -> str:
    """Return the README's program, with another device, place and port."""
    [text] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    here = {"~/.local/share/pharos/caravel": state, '"example.org", 80': f'"{host}", {port}'}
    for there, ours in here.items():
        assert there in text
        text = text.replace(there, ours)
    return str(text)


async def run_words(*words: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        [sys.executable, *words], stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False
    )


async def run(folder: Path, port: int, stdin: str) -> subprocess.CompletedProcess[bytes]:
    return await run_words(str(folder / "fetch.py"), str(folder / "device"), "127.0.0.1", str(port), stdin=stdin)


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


async def serve_socket(request: trio_websocket.WebSocketRequest) -> None:
    socket = await request.accept()
    await socket.send_message(f"you said: {await socket.get_message()}")


async def test_httpx_and_websockets_go_through_a_node_and_so_does_a_program_without_trio(tmp_path: Path) -> None:
    for name in ("pages.py", "plain.py"):
        (tmp_path / name).write_text(program(name))
    async with (
        running_tcp(greet) as port,
        running_fleet(tmp_path, buoys=(), timeout=120) as fleet,
        trio.open_nursery() as nursery,
    ):
        server = await nursery.start(trio_websocket.serve_websocket, serve_socket, "127.0.0.1", 0, None)
        await fleet.add_buoy("amsterdam", reality_allowed=LOOPBACK)
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        state = str(tmp_path / "device-laptop")
        # The node's own address inside the tunnel, which is where our servers are.
        async with fleet.client() as client:
            host = client.profile().nodes[0].addresses[0]
        done = await run_words(str(tmp_path / "pages.py"), state, f"http://{host}:{port}/", host, str(server.port))
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode().splitlines() == ["asked for GET / HTTP/1.1", "you said: is anybody there?"]
        (tmp_path / "readme.py").write_text(readme_program(state, host, port))
        done = await run_words(str(tmp_path / "readme.py"))
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode().endswith("asked for GET / HTTP/1.0")
        done = await run_words(str(tmp_path / "plain.py"), state, host, str(port))
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode().startswith("amsterdam\nHTTP/1.1 200 OK")
        assert "asked for GET / HTTP/1.0" in done.stdout.decode()
        nursery.cancel_scope.cancel()

"""What a program that dials for devices may send, in a kernel: a process of such a user, and what is around it."""

from __future__ import annotations

import ctypes
import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.wire.desired import Policy
from pharos.wire.netpolicy import Target
from tests.system.policynet import DNS, HTTP, INNER, NODE, RESOLVER, SSH, WEB, PolicyNet, open_policy_net
from tests.system.tunnels import POLL_INTERVAL

pytestmark = pytest.mark.system

USER, NOBODY = 4242, 65534
PORT = 8443
STUB = "127.0.0.53"
PRIVATE = "10.50.0.1"
TRANSLATED = "64:ff9b::10.50.0.1"
TCP, UDP = "tcp", "udp"
# Says for each what it was answered, or that it was refused; a silence is neither.
DIAL = """
import json, socket, sys
said = []
for kind, address, port in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            # As Xray sends what comes in one stream: by a socket that is nobody's in particular.
            sock.connect((address, port)) if kind == "tcp" else sock.sendto(b"?", (address, port))
            said.append(sock.recv(99).decode().split()[0])
        except TimeoutError:
            said.append("silence")
        except OSError:
            said.append("refused")
print(json.dumps(said))
"""
# One socket, as Xray has one for a stream of datagrams whatever it is for: its routing sees the first.
STREAM = """
import json, socket, sys
said = []
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    for address, port in json.loads(sys.argv[1]):
        try:
            sock.sendto(b"?", (address, port))
            said.append(sock.recv(99).decode().split()[0])
        except OSError as error:
            said.append("silence" if isinstance(error, TimeoutError) else "refused")
print(json.dumps(said))
"""
SERVE = """
import socket, sys
with socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    while True:
        with server.accept()[0] as sock:
            sock.sendall(b"served you")
"""


_LIBC = ctypes.CDLL(None)


def socket_of(uid: int) -> socket.socket:
    """Open a socket for datagrams that counts as a user's."""
    # Of the calling thread alone (setfsuid(2)).
    _LIBC.setfsuid(uid)
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    finally:
        _LIBC.setfsuid(0)


def as_user(uid: int, script: str, *words: str) -> list[str]:
    return ["setpriv", f"--reuid={uid}", "--clear-groups", "--", sys.executable, "-I", "-c", script, *words]


async def dial(net: PolicyNet, *whom: tuple[str, str, int], uid: int = USER) -> list[str]:
    """Return who answers a process of a user at each place."""
    said: list[str] = json.loads(await net.lab.run(NODE, *as_user(uid, DIAL, json.dumps(whom))))
    return said


async def confine(net: PolicyNet, policy: Policy | None = None, **fields: Any) -> list[str]:
    return await net.apply(policy, **{"confined": (USER,)} | fields)


def both(address: str, port: int) -> tuple[tuple[str, str, int], ...]:
    return (TCP, address, port), (UDP, address, port)


async def test_a_confined_user_reaches_the_internet_and_nothing_of_this_machine(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        own = ["127.0.0.1", "::1", *INNER[NODE].values(), net.outer(NODE, 4), net.outer(NODE, 6)]
        services = [one for address in own for one in both(address, SSH)]
        public = [one for family in (4, 6) for one in both(net.outer(WEB, family), HTTP)]
        # Weakened: without the rule all of it is open to whoever finds a way by the server's own rules.
        await net.apply()
        assert await dial(net, *services, *public) == [NODE] * len(services) + [WEB] * len(public)
        await confine(net)
        assert await dial(net, *services, *public) == ["refused"] * len(services) + [WEB] * len(public)
        assert await dial(net, *services, uid=NOBODY) == [NODE] * len(services)
        # A device behind the tunnel is no part of the Internet, but other devices'.
        inner = [one for family in (4, 6) for one in both(INNER["clienta"][family], HTTP)]
        assert await dial(net, *inner) == ["refused"] * len(inner)
        assert await dial(net, *inner, uid=NOBODY) == ["clienta"] * len(inner)


async def test_later_datagrams_of_a_stream_go_where_the_first_could_have_gone(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        stream = [(net.outer(WEB, 4), HTTP), ("127.0.0.1", SSH), (net.outer(WEB, 4), HTTP)]

        async def send() -> Any:
            return json.loads(await net.lab.run(NODE, *as_user(USER, STREAM, json.dumps(stream))))

        await net.apply()
        assert await send() == [WEB, NODE, WEB]
        await confine(net)
        assert await send() == [WEB, "refused", WEB]


async def test_addresses_that_a_router_takes_for_itself_are_its_own(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        # RFC 4291 §2.6.1: whoever forwards listens there, too.
        anycast = net.outer(NODE, 6).rpartition("::")[0] + "::"
        await net.apply()
        assert await dial(net, (UDP, anycast, SSH)) == [NODE]
        await confine(net)
        broadcast = net.outer(NODE, 4).rpartition(".")[0] + ".255"
        assert await dial(net, (UDP, anycast, SSH), (UDP, broadcast, SSH)) == ["refused"] * 2


async def test_private_and_closed_networks_are_refused_but_those_that_the_node_allows(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        for address, length in ((PRIVATE, 32), (TRANSLATED, 128)):
            at_once = ["nodad"] if length == 128 else []
            await net.lab.run(WEB, "ip", "addr", "add", f"{address}/{length}", "dev", "lo", *at_once)
            via = net.outer(WEB, 4 if length == 32 else 6)
            await net.lab.run(NODE, "ip", "route", "add", address, "via", via)
            await net.serve(WEB, address, HTTP)
        private = [*both(PRIVATE, HTTP), *both(TRANSLATED, HTTP)]
        await net.apply()
        assert await dial(net, *private) == [WEB] * 4
        await confine(net)
        assert await dial(net, *private) == ["refused"] * 4
        # What devices in the tunnel may reach is another setting.
        await confine(net, allowed=("10.50.0.0/24",))
        assert await dial(net, *private) == ["refused"] * 4
        await confine(net, Policy(internet=False), allowed_users=("10.50.0.0/24",))
        assert await dial(net, *private) == [WEB] * 2 + ["refused"] * 2
        await confine(net, Policy(closed=("10.50.0.0/16",)), allowed_users=("10.50.0.0/24",))
        assert await dial(net, *private) == ["refused"] * 4
        closed = (f"{net.outer(RESOLVER, 4)}/32", f"{net.outer(RESOLVER, 6)}/128")
        await confine(net, Policy(closed=closed))
        for family in (4, 6):
            assert await dial(net, *both(net.outer(RESOLVER, family), HTTP)) == ["refused"] * 2
            assert await dial(net, *both(net.outer(WEB, family), HTTP)) == [WEB] * 2


async def test_names_are_looked_up_where_the_machine_does(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        await net.serve(NODE, STUB, DNS)
        await net.serve(NODE, STUB, HTTP)
        await net.serve(NODE, "127.0.0.1", DNS)
        (tmp_path / "resolv.conf").write_text(f"nameserver {STUB}\nnameserver {net.outer(RESOLVER, 6)}\n")
        closed = Policy(internet=False, closed=(f"{net.outer(RESOLVER, 6)}/128",), resolvers=(net.outer(WEB, 4),))
        await confine(net, closed)
        assert await dial(net, *both(STUB, DNS), *both(net.outer(RESOLVER, 6), DNS)) == [NODE] * 2 + [RESOLVER] * 2
        others = [*both(STUB, HTTP), *both("127.0.0.1", DNS), *both(net.outer(WEB, 4), DNS)]
        assert await dial(net, *others) == ["refused"] * 6


async def test_without_the_internet_only_the_targets_of_reality_are_reached(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        public = [(TCP, net.outer(host, family), HTTP) for host in (WEB, RESOLVER) for family in (4, 6)]
        datagrams = [(UDP, net.outer(WEB, family), HTTP) for family in (4, 6)]
        own = [(TCP, "127.0.0.1", SSH), (UDP, "127.0.0.1", SSH), (TCP, "::1", SSH)]
        closed = Policy(internet=False, closed=(f"{net.outer(RESOLVER, 4)}/32",))
        await confine(net, closed)
        assert await dial(net, *public, *datagrams, *own) == ["refused"] * 9
        # By its address: there, and nowhere else.
        await confine(net, closed, targets=(Target(address="127.0.0.1", port=SSH),))
        assert await dial(net, *public, *datagrams, *own) == ["refused"] * 6 + [NODE, "refused", "refused"]
        await confine(net, closed, targets=(Target(address=net.outer(RESOLVER, 4), port=HTTP),))
        assert await dial(net, *public, *own) == ["refused"] * 2 + [RESOLVER] + ["refused"] * 4
        # By a name: at this port, wherever that is on the Internet.
        await confine(net, closed, targets=(Target(address="", port=HTTP), Target(address="", port=SSH)))
        expected = [WEB, WEB, "refused", RESOLVER]
        assert await dial(net, *public, *datagrams, *own) == expected + ["refused"] * 5


async def test_whoever_dials_a_confined_user_is_served_from_wherever_he_comes(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        await net.lab.start(NODE, *as_user(USER, SERVE, str(PORT)), name="server")
        while not any(one.state == "LISTEN" and one.port == PORT for one in await net.lab.sockets(NODE)):
            net.lab.check()
            await trio.sleep(POLL_INTERVAL)
        await confine(net, Policy(internet=False, closed=("203.0.113.0/24",)))
        assert await net.ask(WEB, net.outer(NODE, 4), PORT) == ["served", "you"]
        # By the tunnel, from a private address.
        assert await net.ask("clienta", net.outer(NODE, 6), PORT) == ["served", "you"]
        assert await net.ask(NODE, "127.0.0.1", PORT) == ["served", "you"]


async def test_what_a_policy_closes_ends_what_a_confined_user_had_going(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        await confine(net)
        # Whose a socket is, is decided when it is made.
        made = await net.lab.namespace(NODE).call(socket_of, USER)
        with trio.socket.from_stdlib_socket(made) as sock:
            await sock.connect((net.outer(WEB, 4), HTTP))
            await sock.send(b"?")
            assert (await sock.recv(99)).split()[0] == WEB.encode()
            await confine(net, Policy(internet=False))
            with trio.fail_after(5), pytest.raises(OSError):
                await sock.send(b"?")
                await sock.recv(99)


async def test_a_node_without_a_tunnel_confines_and_does_not_forward(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        before = await net.switches()
        assert await confine(net, interfaces=()) == []
        assert await dial(net, (TCP, "127.0.0.1", SSH), (TCP, net.outer(WEB, 4), HTTP)) == ["refused", WEB]
        assert await net.switches() == before
        # A tunnel that is not there yet is a name only.
        await confine(net, interfaces=("awg7",))
        assert await dial(net, (TCP, "127.0.0.1", SSH), (TCP, net.outer(WEB, 4), HTTP)) == ["refused", WEB]
        # And one that goes away takes its switches along, with the plan.
        await confine(net, interfaces=())
        await net.order(remove=True)
        assert await net.switches() == before

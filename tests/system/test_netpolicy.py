"""The network policy in a kernel: devices of wireguard-go, a node with our engine, and who sees whom behind it."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest
import trio

from pharos.wire.desired import Policy
from tests.system.lab.network import open_lab
from tests.system.policynet import (
    DNS,
    DOT,
    HTTP,
    INNER,
    NODE,
    RELAY,
    RESOLVER,
    SSH,
    WEB,
    PolicyNet,
    open_policy_net,
)
from tests.system.tunnels import POLL_INTERVAL

pytestmark = pytest.mark.system

UDP = socket.SOCK_DGRAM
APPLY = """
import sys, trio
from pathlib import Path
from pharos.buoy.netpolicy import NetworkKeeper
from pharos.wire.netpolicy import NetworkPlan
trio.run(NetworkKeeper(Path(sys.argv[1])).apply, NetworkPlan(interfaces=("awg0",)))
"""
ONE, OTHER = "clienta", "clientb"


async def is_refused(
    net: PolicyNet, host: str, address: str, port: int = HTTP, *, kind: int = socket.SOCK_STREAM
) -> bool:
    """Tell whether an answer comes at once, and is no."""
    try:
        await net.ask(host, address, port, kind=kind)
    except OSError:
        return True
    return False


async def test_devices_reach_the_internet_as_the_node_until_it_is_closed(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        before = await net.switches()
        # Neither forwards nor filters.
        assert (await net.lab.run(NODE, "cat", "/proc/sys/net/ipv4/ip_forward")).strip() == "0"
        await net.apply()
        for family in (4, 6):
            for kind in (socket.SOCK_STREAM, UDP):
                said = await net.ask(ONE, net.outer(WEB, family), kind=kind)
                assert said == [WEB, net.outer(NODE, family)]
        await net.apply(Policy(internet=False))
        for family in (4, 6):
            for kind in (socket.SOCK_STREAM, UDP):
                assert await is_refused(net, ONE, net.outer(WEB, family), kind=kind)
        # What was set for the first plan is not taken for what the machine had.
        await net.order(remove=True)
        assert await net.ruleset() == ""
        assert await net.switches() == before
        assert not [*(tmp_path / "network").iterdir()]


async def test_devices_are_isolated_until_they_may_reach_each_other(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        await net.apply()
        for family in (4, 6):
            assert await is_refused(net, ONE, INNER[OTHER][family])
            assert await is_refused(net, OTHER, INNER[ONE][family], kind=UDP)
        await net.apply(Policy(peer_to_peer=True, internet=False))
        for family in (4, 6):
            assert await net.ask(ONE, INNER[OTHER][family]) == [OTHER, INNER[ONE][family]]
            assert await net.ask(OTHER, INNER[ONE][family], kind=UDP) == [ONE, INNER[OTHER][family]]
        await net.apply(Policy(peer_to_peer=False))
        for family in (4, 6):
            assert await is_refused(net, ONE, INNER[OTHER][family])


async def test_isolation_ends_what_two_devices_had_going(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        await net.apply(Policy(peer_to_peer=True))
        family = socket.AF_INET
        with await net.lab.namespace(ONE).socket(family, UDP) as sock:
            await sock.connect((INNER[OTHER][4], HTTP))
            await sock.send(b"?")
            assert (await sock.recv(64)).decode().split() == [OTHER, INNER[ONE][4]]
            await net.apply()
            await sock.send(b"?")
            with trio.fail_after(5), pytest.raises(OSError):
                await sock.recv(64)


async def test_closed_and_private_networks_are_refused(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        closed = (f"{net.outer(RESOLVER, 4)}/32", f"{net.outer(RESOLVER, 6)}/128")
        await net.apply(Policy(closed=closed, peer_to_peer=True))
        for family in (4, 6):
            assert await is_refused(net, ONE, net.outer(RESOLVER, family))
            assert (await net.ask(ONE, net.outer(WEB, family)))[0] == WEB
        # Behind the node is a private network, to which it has a route, as many a server has.
        way = await net.lab.run(ONE, "ip", "-json", "route", "get", net.outer(WEB, 4))
        for private in ("192.168.50.2", "169.254.169.254"):
            await net.lab.run(ONE, "ip", "route", "add", private, "dev", json.loads(way)[0]["dev"])
            assert await is_refused(net, ONE, private)
        # A policy may close devices' networks as well.
        await net.apply(Policy(closed=("10.7.0.3/32",), peer_to_peer=True))
        assert await is_refused(net, ONE, INNER[OTHER][4])
        assert (await net.ask(ONE, INNER[OTHER][6]))[0] == OTHER


async def test_a_private_network_behind_the_node_is_reached_where_the_machine_allows_it(tmp_path: Path) -> None:
    private = "10.50.0.1"
    async with open_policy_net(tmp_path) as net:
        await net.lab.run(WEB, "ip", "addr", "add", f"{private}/32", "dev", "lo")
        await net.lab.run(NODE, "ip", "route", "add", private, "via", net.outer(WEB, 4))
        way = await net.lab.run(ONE, "ip", "-json", "route", "get", net.outer(WEB, 4))
        await net.lab.run(ONE, "ip", "route", "add", private, "dev", json.loads(way)[0]["dev"])
        await net.serve(WEB, private, HTTP)
        await net.apply()
        assert await is_refused(net, ONE, private)
        await net.apply(Policy(internet=False), allowed=("10.50.0.0/24",))
        assert await net.ask(ONE, private) == [WEB, net.outer(NODE, 4)]
        assert await is_refused(net, ONE, net.outer(WEB, 4))
        await net.apply(Policy(closed=("10.50.0.0/16",)), allowed=("10.50.0.0/24",))
        assert await is_refused(net, ONE, private)


async def test_of_the_node_itself_devices_reach_what_answers_them_only(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        await net.apply()
        for address in (*INNER[NODE].values(), net.outer(NODE, 6)):
            assert await is_refused(net, ONE, address, SSH)
            assert await is_refused(net, ONE, address, SSH, kind=UDP)
        for family in (4, 6):
            assert await is_refused(net, ONE, INNER[NODE][family], RELAY)
            said = await net.lab.run(ONE, "ping", "-n", "-c", "1", "-W", "5", INNER[NODE][family], check=False)
            assert "1 received" in said
            # The node asks devices, and hears the answer.
            assert (await net.ask(NODE, INNER[ONE][family]))[0] == ONE
            # Others than devices are none of the policy's business.
            assert (await net.ask(WEB, net.outer(NODE, family), SSH))[0] == NODE
        # A relay that shares the machine.
        assert (await net.ask(ONE, net.outer(NODE, 6), RELAY))[0] == NODE


async def test_questions_for_names_come_to_the_resolvers_whomever_they_are_for(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        resolvers = (net.outer(RESOLVER, 4), net.outer(RESOLVER, 6))
        # Named, a resolver is open even where everything else is closed.
        await net.apply(Policy(resolvers=resolvers, internet=False, closed=("203.0.113.0/24",)))
        for family in (4, 6):
            seen = [RESOLVER, net.outer(NODE, family)]
            for asked in (
                net.outer(RESOLVER, family),
                net.outer(WEB, family),
                INNER[NODE][family],
                INNER[OTHER][family],
            ):
                assert await net.ask(ONE, asked, DNS, kind=UDP) == seen
                assert await net.ask(ONE, asked, DNS) == seen
            assert await net.ask(ONE, net.outer(RESOLVER, family), DOT) == seen
            assert await is_refused(net, ONE, net.outer(RESOLVER, family), HTTP)
        await net.apply(Policy(resolvers=resolvers))
        for family in (4, 6):
            # Who encrypts only when he can asks in clear then.
            assert await is_refused(net, ONE, net.outer(WEB, family), DOT)
            assert (await net.ask(ONE, net.outer(WEB, family), HTTP))[0] == WEB


async def test_a_resolver_may_be_the_node_itself_or_a_device(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        for family in (4, 6):
            await net.serve(NODE, INNER[NODE][family], DNS)
            await net.serve(OTHER, INNER[OTHER][family], DNS)
        await net.apply(Policy(resolvers=tuple(INNER[NODE].values())))
        for family in (4, 6):
            assert await net.ask(ONE, net.outer(WEB, family), DNS, kind=UDP) == [NODE, INNER[ONE][family]]
        await net.apply(Policy(resolvers=tuple(INNER[OTHER].values())))
        for family in (4, 6):
            for kind in (UDP, socket.SOCK_STREAM):
                said = await net.ask(ONE, net.outer(WEB, family), DNS, kind=kind)
                assert said == [OTHER, INNER[ONE][family]]
            assert await is_refused(net, ONE, INNER[OTHER][family], HTTP)


async def test_without_a_word_of_helm_the_resolvers_are_those_of_the_machine(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        # A resolver on loopback only: nobody else can ask it.
        assert any("policy.resolvers" in finding for finding in await net.apply())
        assert await is_refused(net, ONE, net.outer(WEB, 4), DNS, kind=UDP)
        (tmp_path / "resolv.conf").write_text(f"nameserver {net.outer(RESOLVER, 4)}\n")
        assert await net.apply() == []
        assert (await net.ask(ONE, net.outer(WEB, 4), DNS, kind=UDP))[0] == RESOLVER
        # One of the other family cannot be asked in its stead.
        assert await is_refused(net, ONE, net.outer(WEB, 6), DNS, kind=UDP)
        # Nobody named resolvers, so whoever brings one of his own, encrypted, may have it.
        assert (await net.ask(ONE, net.outer(WEB, 4), DOT))[0] == WEB


async def wait_healed(net: PolicyNet) -> None:
    with trio.fail_after(30):
        while True:
            if not await net.order(drift=True):
                return
            await trio.sleep(POLL_INTERVAL)


@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "flush table inet pharos",
        "delete table inet pharos",
        "delete chain inet pharos leaving",
        "insert rule inet pharos from_devices accept",
        "add element inet pharos resolvers4 { 198.51.100.1 }",
    ],
)
async def test_what_somebody_does_to_the_table_is_put_back(tmp_path: Path, harm: str) -> None:
    async with open_policy_net(tmp_path) as net:
        await net.apply(Policy(resolvers=(net.outer(RESOLVER, 4),)))
        before = await net.ruleset()
        await net.lab.run(NODE, "nft", harm)
        await wait_healed(net)
        assert await net.ruleset() == before
        assert await net.ask(ONE, net.outer(WEB, 4)) == [WEB, net.outer(NODE, 4)]
        assert "was changed under us" in (tmp_path / "policy.log").read_text()


async def test_switches_that_somebody_moves_are_moved_back(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        before = await net.switches()
        await net.apply()
        set_by_us = await net.switches()
        assert (set_by_us["net.ipv4.ip_forward"], set_by_us["net.ipv6.conf.all.forwarding"]) == ("1", "1")
        # A router by its own advertisements would be without a way out.
        assert (before["net.ipv6.conf.eth0.accept_ra"], set_by_us["net.ipv6.conf.eth0.accept_ra"]) == ("1", "2")
        await net.lab.run(NODE, "sysctl", "-w", "net.ipv4.ip_forward=0", "net.ipv6.conf.eth0.accept_ra=1")
        await wait_healed(net)
        assert await net.switches() == set_by_us
        said = (tmp_path / "policy.log").read_text()
        assert "net/ipv4/ip_forward" in said
        assert "net/ipv6/conf/eth0/accept_ra" in said
        # What is another's since is left to him.
        await net.lab.run(NODE, "ip", "link", "add", "dummy0", "type", "bridge")
        await wait_healed(net)
        await net.order(remove=True)
        await net.lab.run(NODE, "ip", "link", "del", "dummy0")
        assert await net.switches() == before


async def test_a_machine_that_forwarded_before_does_so_afterwards(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        settings = ["net.ipv4.ip_forward=1", "net.ipv4.conf.eth0.forwarding=0", "net.ipv4.conf.all.accept_redirects=0"]
        await net.lab.run(NODE, "sysctl", "-w", *settings, "net.ipv6.conf.all.forwarding=1")
        before = await net.switches()
        await net.apply()
        await net.order(remove=True)
        assert await net.switches() == before
        await net.lab.run(NODE, "sysctl", "-w", "net.ipv4.ip_forward=0", *settings[2:])
        before = await net.switches()
        await net.apply()
        await net.order(remove=True)
        assert await net.switches() == before


async def test_a_process_that_is_killed_leaves_the_policy_and_the_next_can_undo_it(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        before = await net.switches()
        await net.apply()
        await net.keeper.kill()
        assert await net.ask(ONE, net.outer(WEB, 4)) == [WEB, net.outer(NODE, 4)]
        # What happens while nobody looks is put back by the next one, though it was told nothing.
        await net.lab.run(NODE, "nft", "flush", "ruleset")
        await net.start_keeper()
        await wait_healed(net)
        assert await net.ask(ONE, net.outer(WEB, 4)) == [WEB, net.outer(NODE, 4)]
        await net.keeper.kill()
        await net.start_keeper()
        await net.order(remove=True)
        assert await net.ruleset() == ""
        assert await net.switches() == before


async def test_a_table_that_nobody_touched_is_the_next_processs_own_as_it_is(tmp_path: Path) -> None:
    handles = ("nft", "--handle", "list", "ruleset")
    async with open_policy_net(tmp_path) as net:
        found = await net.apply()
        for killed in (True, False):
            # Written anew, everything in it would have another handle.
            before = await net.lab.run(NODE, *handles)
            await (net.keeper.kill() if killed else net.keeper.stop())
            await net.start_keeper()
            assert await net.apply() == found
            assert await net.lab.run(NODE, *handles) == before
        # One rule less is another table, and another plan is one.
        await net.keeper.kill()
        await net.lab.run(NODE, "nft", "flush", "chain", "inet", "pharos", "forwarding")
        harmed = await net.ruleset()
        await net.start_keeper()
        await net.apply()
        assert await net.ruleset() != harmed
        await net.keeper.kill()
        await net.start_keeper()
        await net.apply(Policy(internet=False))
        assert await is_refused(net, ONE, net.outer(WEB, 4))


async def test_large_packets_pass_a_path_that_takes_smaller_ones(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        await net.apply()
        # The way behind the node takes less than either end knows of, and the node does not say so to the server.
        await net.lab.run(NODE, "ip", "link", "set", "awg0", "mtu", "1300")
        for family in (4, 6):
            sock = await net.lab.namespace(ONE).connect(net.outer(WEB, family), HTTP)
            async with sock:
                assert sock.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1300 - 40


async def test_rules_of_others_are_left_alone_and_those_that_drop_are_told(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        theirs = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
        await net.lab.run(NODE, "nft", theirs)
        before = await net.ruleset()
        (finding, *_) = await net.apply(Policy(resolvers=("192.0.2.1",)))
        assert "ip filter FORWARD" in finding
        await net.order(remove=True)
        assert await net.ruleset() == before


async def test_devices_leave_by_the_interfaces_that_are_named_and_by_no_other(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        await net.apply(egress=("eth0",))
        for family in (4, 6):
            assert await net.ask(ONE, net.outer(WEB, family)) == [WEB, net.outer(NODE, family)]
        await net.apply(egress=("eth1",))
        for family in (4, 6):
            assert await is_refused(net, ONE, net.outer(WEB, family))


async def test_others_than_devices_use_the_node_as_a_router_only_if_the_plan_lets_them(tmp_path: Path) -> None:
    async with open_policy_net(tmp_path) as net:
        target = net.outer(RESOLVER, 4)
        # A neighbour that sends by way of the node what it could send itself, and believes nobody who says so.
        await net.lab.run(WEB, "ip", "route", "add", target, "via", net.outer(NODE, 4))
        believes = [f"net.ipv4.conf.{name}.accept_redirects=0" for name in ("all", "eth0")]
        await net.lab.run(WEB, "sysctl", "-w", *believes)

        async def passes() -> bool:
            said = await net.lab.run(WEB, "ping", "-n", "-c", "1", "-W", "1", target, check=False)
            return "1 received" in said

        assert not await passes()
        await net.apply()
        assert await passes()
        await net.apply(transit=False)
        assert not await passes()
        assert await net.ask(ONE, net.outer(WEB, 4)) == [WEB, net.outer(NODE, 4)]


async def test_without_the_right_to_it_the_error_says_which(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]
            words = [*without, sys.executable, "-c", APPLY, str(tmp_path / "network")]
            said = await lab.run(NODE, "sh", "-c", '"$@" 2>&1', "sh", *words, check=False)
            assert "NetworkPolicyError" in said
            assert "CAP_NET_ADMIN" in said

"""What a process with CAP_NET_ADMIN asks of the kernel for the network policy: nft's table, switches, news of both."""

from __future__ import annotations

import ipaddress
import json
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import trio

from pharos.wire.errors import WireError
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import FAMILY, TABLE
from pharos.wire.netswitches import is_switch
from pharos.wire.units import KIB, SECONDS
from pharos.wire.world import this_world

PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"
"""Where nft is looked for; a PATH from outside plays no part."""
# A table of 10,000 devices that lie apart takes nft two seconds.
NFT_TIMEOUT: Final = 20 * SECONDS
SWITCHES: Final = Path("/proc/sys")
# systemd-resolved listens on loopback and writes there whom it asks; elsewhere the second is all there is.
RESOLVER_FILES: Final = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
# resolv.conf(5), MAXNS.
MAX_OWN_RESOLVERS: Final = 3
# Likewise, of a file that names none; Go's resolver has the second as well.
DEFAULT_RESOLVERS: Final = ("127.0.0.1", "::1")
_SWITCH_GLOBS: Final = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/accept_redirects",
    "net/ipv4/conf/*/forwarding",
    "net/ipv4/conf/*/send_redirects",
    "net/ipv6/conf/*/forwarding",
    "net/ipv6/conf/*/accept_ra",
)
_NETLINK_NETFILTER: Final = 12  # linux/netlink.h
_NFNLGRP_NFTABLES: Final = 7  # linux/netfilter/nfnetlink.h
_ROOM_BYTES: Final = 64 * KIB

Listing: TypeAlias = list[Any]
"""A table as nft shows it, with the handles of its parts: whoever writes the same rules anew makes another."""


class NetworkPolicyError(WireError):
    """The firewall or a switch of the kernel could not be set or read; the message says what to do."""


async def tell_nft(document: dict[str, Any]) -> None:
    """Do what a document says, all of it or nothing.

    Raises: NetworkPolicyError.
    """
    await _run_nft("-j", "-f", "-", stdin=json.dumps(document).encode())


async def read_table() -> Listing:
    """Return our table as it is, empty if there is none.

    Raises: NetworkPolicyError.
    """
    try:
        said = await _run_nft("-j", "list", "table", FAMILY, TABLE)
    except _NotThereError:
        return []
    return [one for one in _parse(said) if "metainfo" not in one]


async def read_dropping_chains() -> list[str]:
    """Return the chains of other tables that drop whatever is forwarded and not named: ours cannot overrule them.

    Raises: NetworkPolicyError.
    """
    chains = [one["chain"] for one in _parse(await _run_nft("-j", "list", "chains")) if "chain" in one]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward" and chain.get("policy") == "drop" and chain["table"] != TABLE
    ]


def open_news() -> socket.socket:
    """Return a socket that can be read when somebody has changed any nftables rule.

    Raises: NetworkPolicyError.
    """
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    try:
        sock.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
    except OSError as error:
        sock.close()
        raise NetworkPolicyError(f"no news of the firewall ({error.strerror}); that takes CAP_NET_ADMIN") from error
    sock.settimeout(0.0)
    return sock


def skip_news(sock: socket.socket) -> None:
    """Read what there is; what it was shows a look at the table."""
    while True:
        try:
            sock.recv(_ROOM_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # ENOBUFS: there was more than room, and the next call says what is left.
            continue


def read_switches(root: Path = SWITCHES) -> dict[str, str]:
    """Return what all switches are that forwarding moves, by path below ``root``."""
    found = {}
    for pattern in _SWITCH_GLOBS:
        for path in root.glob(pattern):
            try:
                value = path.read_text().strip()
            except OSError:
                # Its interface has gone meanwhile.
                continue
            name = str(path.relative_to(root))
            if is_switch(name, value):
                found[name] = value
    return found


def write_switch(name: str, value: str, root: Path = SWITCHES) -> None:
    """Set one switch; one whose interface is gone is none any more.

    Raises: NetworkPolicyError.
    """
    if not is_switch(name, value):
        raise NetworkPolicyError(f"{name} is no switch of the network policy")
    try:
        with (root / name).open("r+") as file:
            file.write(value)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NetworkPolicyError(
            f"{root / name} cannot be set ({error.strerror}); the helper needs root and a writable /proc/sys/net"
        ) from error


def completed(plan: NetworkPlan, files: Iterable[Path] = RESOLVER_FILES) -> NetworkPlan:
    """Return a plan with what this machine's own files say of resolvers, where the plan does not."""
    files = tuple(files)
    if plan.confined and not plan.machine_resolvers:
        plan = attrs.evolve(plan, machine_resolvers=read_machine_resolvers(files))
    return plan if plan.own_resolvers else attrs.evolve(plan, own_resolvers=read_resolvers(files))


def read_resolvers(files: Iterable[Path] = RESOLVER_FILES) -> tuple[str, ...]:
    """Return the resolvers that this machine asks itself and others can ask too, of the first file that has any."""
    for path in files:
        found = dict.fromkeys(address for address in map(_public_spelling, _named(path)) if address)
        if found:
            return tuple(found)[:MAX_OWN_RESOLVERS]
    return ()


def read_machine_resolvers(files: Iterable[Path] = RESOLVER_FILES) -> tuple[str, ...]:
    """Return whom programs of this machine ask, by any of the files, on loopback included."""
    found: dict[str, None] = {}
    for path in files:
        # The interface of a link-local one is not the firewall's business.
        spelt = dict.fromkeys(filter(None, (_spelling(text.partition("%")[0]) for text in _named(path))))
        found |= dict.fromkeys([*spelt][:MAX_OWN_RESOLVERS])
    return tuple(found) or DEFAULT_RESOLVERS


def _named(path: Path) -> list[str]:
    try:
        words = [line.split() for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return []
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]


def _spelling(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _public_spelling(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A zone is an interface of this machine's: nobody else can ask there.
    return None if "%" in text or address.is_loopback or address.is_link_local else str(address)


class _NotThereError(NetworkPolicyError):
    """What was asked for is not there."""


async def _run_nft(*words: str, stdin: bytes = b"") -> str:
    command = shutil.which("nft", path=PATH)
    if command is None:
        raise NetworkPolicyError("nft is missing; install it with: apt-get install nftables")
    with trio.move_on_after(NFT_TIMEOUT):
        done = await this_world().run_process(
            [command, *words],
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={"PATH": PATH, "LC_ALL": "C"},
        )
        if done.returncode == 0:
            return done.stdout.decode()
        said = " ".join(done.stderr.decode(errors="replace").split())[:500]
        if "No such file or directory" in said and "list" in words:
            raise _NotThereError(said)
        if "Operation not permitted" in said:
            raise NetworkPolicyError("nft may not change the firewall here; the helper needs CAP_NET_ADMIN")
        raise NetworkPolicyError(f"nft refused the network policy: {said or f'code {done.returncode}'}")
    raise NetworkPolicyError(f"nft did not end within {NFT_TIMEOUT:g} s; see whether another firewall holds it")


def _parse(said: str) -> list[Any]:
    try:
        found = json.loads(said)["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkPolicyError("nft answered something else than JSON; it was built without it") from error
    if not isinstance(found, list):
        raise NetworkPolicyError("nft answered no list")
    return found

"""Nothing reaches past `pharos.wire.world` to the machine, but what is named here with its reason (docs/adr/0028)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_house import SOURCES, everywhere, name_of, tree_of

PAST = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"}
    | {"clock_gettime", "clock_gettime_ns"},
    "datetime.datetime": {"now", "utcnow", "today"},
    "datetime.date": {"today"},
    "os": {"urandom", "getrandom", "open", "fdopen", "write", "fsync", "fdatasync", "ftruncate", "truncate"}
    | {"replace", "rename", "renames", "link", "unlink", "remove", "fork", "system", "popen", "posix_spawn"},
    "secrets": {"*"},
    "random": {"*"},
    "uuid": {"uuid1", "uuid4"},
    "tempfile": {"*"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree"},
    "subprocess": {"run", "Popen", "call", "check_call", "check_output"},
    "threading": {"Thread", "Timer"},
    "trio": {"run_process"},
    "trio.lowlevel": {"open_process"},
    "trio.to_thread": {"*"},
    "trio.from_thread": {"*"},
}
"""By module: what is a clock, chance, a thread, a disk that is written to, or a program."""
CALLED = {
    "socket": {"socket", "socketpair", "create_connection", "create_server", "fromfd", "getaddrinfo", "gethostbyname"},
    "trio.socket": {"from_stdlib_socket"},
}
"""Likewise of the network; the names alone are types."""
OF_PATHS = {"write_text", "write_bytes", "unlink", "symlink_to", "hardlink_to"}
"""What changes a disk by a path's own methods."""

FOLDERS = {
    "demo/": "starts daemons as a person would, on a machine that is there",
    "helm/cli/": "a person runs it, and waits",
    "caravel/cli/": "a person runs it, and waits",
    "buoy/roothelper/": "a process of root's own, which changes the machine",
    "caravel/system/": "changes a machine's routes, names and firewall",
    "helm/onboard/ssh/": "hands the operator's terminal and keys to ssh",
    "helm/backup/": "an operator's own acts on whole files, while no helm writes to them",
}
MODULES = {
    "beacon/cli.py": "a person runs it",
    "buoy/cli.py": "a person runs it",
    "buoy/dataplane/probing.py": "looks at what this kernel has, by a socket that carries nothing",
    "buoy/netkernel.py": "nftables' news, from netlink",
    "buoy/xray/observe.py": "reads a program's pipe, and the kernel's news of its sockets",
    "buoy/xray/own.py": "the kernel's addresses, from netlink",
    "buoy/xray/places.py": "asks the kernel whether a port is free, for another program",
    "buoy/xray/runner.py": "takes the socket of a program that has died away",
    "caravel/admin/page.py": "listens for a browser on this machine",
    "caravel/blocking.py": "a pair of sockets to a program that has no loop",
    "caravel/doctor/network.py": "a person runs it",
    "caravel/managedfile.py": "reads a file of root's without following links",
    "caravel/profiles/vault.py": "reads a key without following links",
    "caravel/profiles/writing.py": "waits for other programs, in a thread, by a lock that carries no octets",
    "caravel/sources/read.py": "reads a file that may be anything",
    "caravel/tunnel/userns.py": "a process of its own, with a network of its own",
    "caravel/tunnel/userns_child.py": "that process",
    "caravel/tunnel/usernsstreams.py": "the sockets that it hands over",
    "helm/ca/providers.py": "runs what holds a key of the machine's, before anything is served",
    "helm/relay/identity.py": "comes back from a thread; what has no threads carries no beacon aboard",
    "helm/store/connections.py": "makes the file private that SQLite then writes",
    "helm/web/app.py": "the edge that a browser and the command line talk to, by the kernel's sockets",
    "helm/web/server.py": "the same",
    "wire/agent_cli.py": "a person runs it",
    "wire/awg/cli.py": "a person runs it",
    "wire/awg/hostnet.py": "the kernel's news of addresses, from netlink",
    "wire/awg/process.py": "the engine's own process",
    "wire/awg/tun.py": "a TUN interface of the kernel's",
    "wire/daemon.py": "systemd's socket, which only hears",
    "wire/files.py": "the lock of a directory, which ends with the process and carries no octets",
    "wire/listen.py": "a spare descriptor, which carries nothing",
    "wire/localsocket.py": "Unix sockets, for programs of the same machine",
    "wire/pki/secretfd.py": "memory that has no name on any disk",
    "wire/rpc/transport.py": "the plain end of a socket that is TLS's already",
    "wire/world.py": "the world itself",
}


def names_in(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for: ``import random as chance`` and ``from os import open`` both tell."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                root = one.name.partition(".")[0]
                names[one.asname or root] = one.name if one.asname else root
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return a chain of attributes in full, `trio.lowlevel.open_process`; nothing where it begins with no import."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    root = names.get(node.id, "") if isinstance(node, ast.Name) else ""
    return ".".join([root, *reversed(parts)]) if root else ""


def is_in(name: str, table: dict[str, set[str]]) -> bool:
    module, _, what = name.rpartition(".")
    return bool({what, "*"} & table.get(module, set()))


def reaches_in(tree: ast.Module) -> Iterator[str]:
    """Give what a module uses of the machine past the world."""
    names = names_in(tree)
    yield from (name for name in names.values() if is_in(name, PAST) or is_in(name, CALLED))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_in(name := dotted(node, names), PAST):
            yield name
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, what = dotted(node.func, names), node.func.attr
            if is_in(name, CALLED):
                yield name
            of_path = what in OF_PATHS or (what == "rename" and len(node.args) == 1)
            if of_path and ast.unparse(node.func.value) not in ("this_world()", "world"):
                yield f".{what}"


def test_nothing_reaches_past_the_world_but_what_is_named() -> None:
    found = everywhere(lambda path: set(reaches_in(tree_of(path))))
    inside = {name: reaches for name, reaches in found.items() if not name.startswith(tuple(FOLDERS))}
    assert {name: reaches for name, reaches in inside.items() if name not in MODULES} == {}
    assert inside.keys() == MODULES.keys(), "a reason that is needed no more goes"


def test_every_named_folder_is_there() -> None:
    assert all(any(name_of(path).startswith(folder) for path in SOURCES) for folder in FOLDERS)


@pytest.mark.parametrize(
    "bad",
    [
        "import time\ndef f(clock=time.time_ns): pass",
        "import time\ndef f(): time.sleep(1)",
        "from time import monotonic",
        "import datetime\nx = datetime.datetime.now(datetime.UTC)",
        "import os\nx = os.urandom(8)",
        "import secrets\nx = secrets.token_hex(8)",
        "import random\nx = random.random",
        "import random as chance\nx = chance.random",
        "from datetime import datetime\nx = datetime.now()",
        "import uuid\nx = uuid.uuid4()",
        "import trio\nasync def f(): await trio.to_thread.run_sync(g)",
        "import trio\nasync def f(): await trio.run_process(['true'])",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nd = os.open('x', os.O_WRONLY)",
        "def f(path): path.write_bytes(b'')",
        "def f(path): path.rename(other)",
        "def f(path): path.unlink()",
        "import socket\ns = socket.socket()",
        "import trio\ns = trio.socket.from_stdlib_socket(x)",
        "from tempfile import mkstemp",
    ],
)
def test_rule_sees_what_it_forbids(bad: str) -> None:
    assert list(reaches_in(ast.parse(bad)))


@pytest.mark.parametrize(
    "good",
    [
        "def f(secrets): return secrets.noise",
        "def f(random): return random.random()",
        "import socket\ndef f(sock: socket.socket) -> None: sock.close()",
        "this_world().unlink(path)",
        "import subprocess\nx = subprocess.DEVNULL",
        "def f(account): account.rename(device, name)",
        "import datetime\nx = datetime.datetime.fromtimestamp(0, datetime.UTC)",
    ],
)
def test_rule_lets_the_rest_be(good: str) -> None:
    assert not list(reaches_in(ast.parse(good)))

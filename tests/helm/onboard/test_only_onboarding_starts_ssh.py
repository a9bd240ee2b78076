"""Helm reaches into a machine while it is brought in and upgraded, and nothing else of Pharos ever does."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pharos

ROOT = Path(pharos.__file__).parent
HOME = ROOT / "helm" / "onboard"
STARTER = HOME / "ssh" / "process.py"
# A backup goes to a server of the operator's by its own program, with his settings, and starts nothing there.
SFTP = ROOT / "helm" / "backup" / "targets.py"

# Programs of OpenSSH, and those that wrap it, as the first word of a command or the whole of a path.
PROGRAM = re.compile(r"(?:.*/)?(?:auto|m|par|ssh)?(?:ssh|scp|sftp|sshpass|sshfs|rsync)(?:-[a-z]+)?(?: .*)?", re.DOTALL)
LIBRARIES = {"paramiko", "asyncssh", "fabric", "ssh2", "pylibssh", "pexpect", "parallel_ssh", "pty"}
STARTS = {
    *{"run_process", "open_process", "Popen", "check_call", "check_output", "getoutput", "system", "popen"},
    *{f"exec{how}" for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")},
    *{f"spawn{how}" for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")},
    *{"posix_spawn", "posix_spawnp"},
}
"""Functions that start a program; ``subprocess.run`` beside them."""
KNOWN = {
    "buoy/netkernel.py",
    "buoy/roothelper/perform.py",
    "buoy/xray/runner.py",
    "buoy/xray/version.py",
    "caravel/cli/up.py",
    "caravel/system/commands.py",
    "caravel/tunnel/userns.py",
    "demo/processes.py",
    "helm/backup/targets.py",
    "helm/ca/providers.py",
    "helm/onboard/ssh/process.py",
    # For those above, so that a simulated machine has no programs.
    "wire/world.py",
}
"""Who starts programs at all. Another one is looked at by a person, who then adds it here."""


@functools.cache
def sources() -> list[tuple[Path, ast.Module]]:
    """Return the modules in which a word stands that could matter: to parse them all takes seconds."""
    words = [*STARTS, *LIBRARIES, "subprocess", "ssh", "scp", "sftp", "rsync"]
    looked_for = re.compile("|".join(sorted(words)))
    read = ((path, path.read_text()) for path in ROOT.rglob("*.py") if "gen" not in path.parts)
    return [(path, ast.parse(text)) for path, text in read if looked_for.search(text)]


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield the string constants of a module, but for those that stand alone: docstrings."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def called(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else node.attr
            yield "run_process" if name == "subprocess.run" else node.attr
        elif isinstance(node, ast.ImportFrom) and node.module in ("subprocess", "os", "trio", "pty"):
            yield from (("run_process" if each.name in ("run", "call") else each.name) for each in node.names)


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name.split(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def starts_programs(tree: ast.Module) -> bool:
    return not STARTS.isdisjoint(called(tree))


def names_ssh(tree: ast.Module) -> bool:
    return any(PROGRAM.fullmatch(text) for text in texts(tree))


def test_programs_are_started_where_it_is_known() -> None:
    assert {str(path.relative_to(ROOT)) for path, tree in sources() if starts_programs(tree)} == KNOWN


def test_nobody_who_starts_programs_knows_the_name_of_ssh_but_onboarding() -> None:
    named = {path for path, tree in sources() if starts_programs(tree) and names_ssh(tree)}
    assert named - {SFTP} == set(), "onboarding starts what it is given, and alone is given ssh"
    assert {text for text in texts(ast.parse(SFTP.read_text())) if PROGRAM.fullmatch(text)} == {"sftp"}
    assert starts_programs(ast.parse(STARTER.read_text()))


def test_what_starts_ssh_is_given_its_words_by_onboarding_alone() -> None:
    users = {
        path
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "pharos.helm.onboard.ssh.process"
    }
    assert users
    assert all(path.is_relative_to(HOME / "ssh") for path in users)


def test_no_library_speaks_ssh_either() -> None:
    assert not {path for path, tree in sources() if not LIBRARIES.isdisjoint(imported(tree))}


def test_this_test_sees_what_it_looks_for() -> None:
    for code in (
        'import subprocess\nsubprocess.run(["ssh", "web1"])',
        'import trio\nasync def go(): await trio.run_process(["/usr/bin/ssh", "web1"])',
        'import trio\nasync def go(): await trio.lowlevel.open_process("ssh web1 id", shell=True)',
        'from subprocess import run\nrun(("scp", "a", "b"))',
        'import os\nos.execvp("ssh-keyscan", ["ssh-keyscan", "web1"])',
    ):
        tree = ast.parse(code)
        assert starts_programs(tree)
        assert names_ssh(tree)

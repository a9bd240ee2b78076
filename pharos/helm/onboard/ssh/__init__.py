"""A machine by SSH: the system's own ``ssh``, so that agent, configuration, jump hosts and security keys all work.

    resolve ──▶ host key: pinned, or shown and confirmed ──▶ log in ──▶ root ──▶ facts ──▶ commands, files
                    └──▶ HostKeyChangedError, before anything was sent

One connection carries all of it (ControlMaster), and ends with the block.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pharos.helm.onboard.remote import Destination, Remote
from pharos.helm.onboard.ssh.facts import read_facts, read_sections, word
from pharos.helm.onboard.ssh.keys import SshKeys
from pharos.helm.onboard.ssh.machine import Line, SshMachine
from pharos.helm.onboard.ssh.master import Caller
from pharos.helm.onboard.ssh.pins import HostKey, parse_fingerprint
from pharos.helm.onboard.ssh.probe import ABOUT, ROOTS
from pharos.helm.onboard.ssh.prompts import NobodyToAsk, Prompts, TerminalPrompts
from pharos.helm.onboard.ssh.rootway import PASSWORD, SUDO, RootWay, find_root_way
from pharos.helm.onboard.ssh.runtime import open_runtime
from pharos.helm.onboard.ssh.words import SSH

__all__ = ["HostKey", "NobodyToAsk", "Prompts", "SshKeys", "TerminalPrompts", "open_remote"]


@asynccontextmanager
async def open_remote(
    destination: Destination,
    *,
    keys: SshKeys,
    prompts: Prompts,
    host_key: str | None = None,
    program: Sequence[str] = SSH,
) -> AsyncIterator[Remote]:
    """Connect to a machine and find out what it is; everything of ours ends with the block, cancelled or not.

    ``host_key`` is the fingerprint that the machine itself shows, ``SHA256:…``: with it nobody is asked. ``program``
    is ssh with options of its own, ``("ssh", "-F", FILE)``.

    Raises: OnboardError — each kind of it (``pharos.helm.onboard.errors``) is a thing that an operator can do
    something about. InvalidRequestError — ``host_key`` is none. StateFileError — helm's own files.
    """
    given = None if host_key is None else parse_fingerprint(host_key)
    with open_runtime(keys) as runtime:
        caller = Caller(program=program, destination=destination, keys=keys, runtime=runtime, prompts=prompts)
        resolved = await caller.resolve()
        pinned = await caller.agree_on_host_key(resolved, given)
        async with caller.open_master(resolved, pinned) as master:
            line = Line(program=program, runtime=runtime, destination=destination, master=master)
            way = RootWay(SUDO).words(("sh", "-c"))
            said = read_sections((await line.call(("sh", "-c", ABOUT, "sh", ROOTS, *way), b"")).stdout)
            root = await find_root_way(word(said.get("root", [])), line.call, destination, prompts)
            if root.kind == PASSWORD:
                answers = await line.call(root.words(("sh", "-c", ROOTS)), root.stdin(b""))
                said |= read_sections(answers.stdout)
            yield SshMachine(
                destination=destination,
                host_key=pinned[0].fingerprint,
                facts=read_facts(said, root.kind),
                line=line,
                root=root,
            )

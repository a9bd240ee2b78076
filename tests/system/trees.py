"""The trees that machines boot from: made by mmdebstrap once, and kept under ``.cache/machines``."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
from pathlib import Path

import trio

from tests.system.lab.commands import CommandError, run_command
from tests.system.lab.relayprocess import ROOT

RELEASES = ("bookworm", "trixie")
"""Debian 12 and 13."""
CACHE = ROOT / ".cache" / "machines"
BUILD_TIMEOUT = 900.0
POLL_INTERVAL = 0.05

# What the packages of the agents depend on, and what one needs to look around: a machine has no way to a mirror.
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "python3",
    "ca-certificates",
    "iproute2",
    "iputils-ping",
    "nftables",
)
RECIPE = (
    "--variant=minbase",
    f"--include={','.join(PACKAGES)}",
    # Pages that nobody reads here are a third of the size; a power cut while it is built only costs the build.
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=force-unsafe-io",
    '--aptopt=Acquire::Languages "none"',
    # A mirror may stumble; who waits for it would rather wait a little longer.
    '--aptopt=Acquire::Retries "5"',
    # The builder's; nspawn gives each machine its own.
    '--customize-hook=rm -f "$1/etc/hostname"',
)


async def ensure_tree(release: str) -> Path:
    """Return the tree of a release, made now if it is not in the cache.

    Raises: CommandError — mmdebstrap failed.
    """
    digest = hashlib.sha256("\n".join(RECIPE).encode()).hexdigest()[:12]
    tree = CACHE / f"{release}-{digest}"
    if not tree.is_dir():
        with trio.fail_after(BUILD_TIMEOUT):
            async with trio.open_nursery() as nursery:
                # Whoever needs one will need the other, and two at once take little longer than one.
                for each in RELEASES:
                    nursery.start_soon(_make_tree, each, CACHE / f"{each}-{digest}")
    return tree


async def _make_tree(release: str, tree: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".{release}.lock").open("w") as lock:
        await _lock(lock.fileno())
        scratch = CACHE / f".{release}.new"
        if not await trio.to_thread.run_sync(_clear, release, tree, scratch):
            return
        # It holds the lock too: should we be killed, nobody touches the half-made tree before it has ended as well.
        done = await trio.run_process(
            ["mmdebstrap", "--quiet", *RECIPE, release, str(scratch), *await _mirror()],
            capture_stderr=True,
            check=False,
            pass_fds=[lock.fileno()],
        )
        if done.returncode != 0:
            raise CommandError(f"mmdebstrap {release}: {done.stderr.decode(errors='replace')[-2000:]}")
        scratch.rename(tree)


def _clear(release: str, tree: Path, scratch: Path) -> bool:
    """Remove what older recipes and broken builds left; tell whether the tree has still to be made."""
    if tree.is_dir():
        return False
    for old in [*CACHE.glob(f"{release}-*"), *CACHE.glob(scratch.name)]:
        shutil.rmtree(old)
    return True


async def _lock(descriptor: int) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        await trio.sleep(POLL_INTERVAL)


async def _mirror() -> list[str]:
    """Return the mirror of Debian that this host itself uses; none lets mmdebstrap choose."""
    wanted = "$(ORIGIN) $(LABEL) $(REPO_URI)"
    lines = await run_command("apt-get", "indextargets", "--format", wanted, "Created-By: Packages", check=False)
    return [line.split()[2] for line in lines.splitlines() if line.startswith("Debian Debian ")][:1]

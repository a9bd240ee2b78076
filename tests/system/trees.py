"""The trees that machines boot from: made by mmdebstrap once, and kept under ``.cache/machines``."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from tests.system.lab.commands import CommandError, run_command
from tests.system.lab.relayprocess import ROOT

RELEASES = ("bookworm", "trixie")
"""Debian 12 and 13."""
CACHE = ROOT / ".cache" / "machines"
BUILD_TIMEOUT = 900.0
POLL_INTERVAL = 0.05


@attrs.frozen
class Recipe:
    """What mmdebstrap is told, and what the names of the trees begin with."""

    prefix: str
    arguments: tuple[str, ...]

    def tree(self, release: str) -> Path:
        """Return where the tree of a release is, or will be; another recipe has another place."""
        digest = hashlib.sha256("\n".join(self.arguments).encode()).hexdigest()[:12]
        return CACHE / f"{self.prefix}{release}-{digest}"


def _recipe(prefix: str, packages: Sequence[str], *more: str) -> Recipe:
    return Recipe(
        prefix,
        (
            "--variant=minbase",
            f"--include={','.join(packages)}",
            # Pages that nobody reads here are a third of the size; a power cut while it is built only costs the build.
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=force-unsafe-io",
            '--aptopt=Acquire::Languages "none"',
            # A mirror may stumble; who waits for it would rather wait a little longer.
            '--aptopt=Acquire::Retries "5"',
            *more,
            # The builder's; nspawn gives each machine its own.
            '--customize-hook=rm -f "$1/etc/hostname"',
        ),
    )


# As a provider hands it over: it boots, it can be reached, and it has nothing that Pharos wants. Images for clouds
# bring Python; this one has to get it.
BARE_PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "ca-certificates", "iproute2")
WANTED = ("python3", "nftables", "sudo")
"""What the agents' packages depend on, and what their installation may have to bring."""
MIRROR = "srv/mirror"
"""Where in a bare tree all packages are, those that it lacks too: a flat repository of apt's (sources.list(5))."""

FULL = _recipe("", (*BARE_PACKAGES[:4], "python3", *BARE_PACKAGES[4:], "iputils-ping", "nftables"))
"""With what the packages of the agents depend on, and what one needs to look around: no mirror is needed."""
BARE = _recipe(
    "bare-",
    BARE_PACKAGES,
    f'--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q -y install --download-only {" ".join(WANTED)}',
    f'--customize-hook=mkdir -p "$1/{MIRROR}" && mv "$1"/var/cache/apt/archives/*.deb "$1/{MIRROR}"',
    f'--customize-hook=cd "$1/{MIRROR}" && dpkg-scanpackages --multiversion . > Packages',
)
"""With a mirror beside it, so that apt has what it would download: the same packages, of the same day."""


async def ensure_tree(release: str, recipe: Recipe = FULL) -> Path:
    """Return the tree of a release, made now if it is not in the cache.

    Raises: CommandError — mmdebstrap failed.
    """
    if not recipe.tree(release).is_dir():
        with trio.fail_after(BUILD_TIMEOUT):
            async with trio.open_nursery() as nursery:
                # Whoever needs one will need the other, and two at once take little longer than one.
                for each in RELEASES:
                    nursery.start_soon(_make_tree, each, recipe)
    return recipe.tree(release)


async def _make_tree(release: str, recipe: Recipe) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    name = recipe.prefix + release
    with (CACHE / f".{name}.lock").open("w") as lock:
        await _lock(lock.fileno())
        tree, scratch = recipe.tree(release), CACHE / f".{name}.new"
        if not await trio.to_thread.run_sync(_clear, name, tree, scratch):
            return
        # It holds the lock too: should we be killed, nobody touches the half-made tree before it has ended as well.
        done = await trio.run_process(
            ["mmdebstrap", "--quiet", *recipe.arguments, release, str(scratch), *await _mirror()],
            capture_stderr=True,
            check=False,
            pass_fds=[lock.fileno()],
        )
        if done.returncode != 0:
            raise CommandError(f"mmdebstrap {name}: {done.stderr.decode(errors='replace')[-2000:]}")
        scratch.rename(tree)


def _clear(name: str, tree: Path, scratch: Path) -> bool:
    """Remove what older recipes and broken builds left; tell whether the tree has still to be made."""
    if tree.is_dir():
        return False
    for old in [*CACHE.glob(f"{name}-*"), *CACHE.glob(scratch.name)]:
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

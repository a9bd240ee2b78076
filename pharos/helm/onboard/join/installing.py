"""The packages: brought over, and installed by apt."""

from __future__ import annotations

import re
from typing import Final

import trio

from pharos.helm.onboard.errors import RemoteCommandError
from pharos.helm.onboard.join.errors import StepError
from pharos.helm.onboard.join.judge import is_broken, is_installed
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.settings import set_keys
from pharos.helm.onboard.join.site import Outcome, Site, explain, listed
from pharos.helm.onboard.remote import Progress
from pharos.wire.units import MINUTES, SECONDS
from pharos.wire.world import in_thread

# Python and what it needs from a slow mirror, unpacked on a machine with one slow core.
INSTALL_TIMEOUT: Final = 10 * MINUTES
UPDATE_TIMEOUT: Final = 5 * MINUTES
# A fresh machine updates itself for a minute or two when it has just booted.
LOCK_WAIT: Final = 5 * MINUTES
LOCK_POLL: Final = 3 * SECONDS
TOLD: Final = 50
"""Times at most that an upload says how far it is."""
# Nobody is there to be asked; settings that somebody changed stay; apt says at once who holds its lock.
APT: Final = (
    *("env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l", "LC_ALL=C.UTF-8"),
    *("apt-get", "--yes", "-o", "DPkg::Lock::Timeout=0", "-o", "Dpkg::Options::=--force-confold"),
)
_LOCKED: Final = re.compile(
    r"It is held by process (?P<pid>\d+)(?: \((?P<name>[^)\n]+)\))?"
    r"|locked by another process(?: with pid (?P<pid2>\d+))?"
)
# What apt says on standard error where its lists are empty or old; which packages it misses it says elsewhere.
_MISSING: Final = re.compile(
    r"unmet dependencies|held broken packages|pkgProblemResolver|no installation candidate|Unable to locate"
    r"|404 +Not Found|Unable to fetch|Failed to fetch"
)


async def upload(site: Site) -> Outcome:
    """Bring over what has to be installed, unless it is there."""
    sent = []
    for part, deb in site.debs.items():
        target = f"{site.trace.folder}/{deb.path.name}"
        site.uploaded[part] = target
        if await _has(site, target, await in_thread(deb.digest)):
            continue
        await site.remote.upload(deb.path, target, _telling(site, deb.path.name))
        sent.append(deb.path.name)
    if not site.debs:
        return Outcome("nothing has to be sent", changed=False)
    return Outcome(f"sent {listed(sent)}" if sent else "it is there already", changed=bool(sent))


def _telling(site: Site, name: str) -> Progress:
    """Return what tells of an upload, a fiftieth at a time: whoever listens may be a page far away."""
    told = -1.0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done == total or done >= told + total / TOLD:
            told = done
            site.progress(done=done, total=total, says=name)

    return tell


async def install(site: Site) -> Outcome:
    """Install what was brought, and mend what is half installed.

    Raises: StepError — apt says no, or somebody holds its lock for too long.
    """
    if not site.debs:
        return Outcome("it is installed already", changed=False)
    facts = site.remote.facts
    broken = [part for part in site.debs if is_broken(facts, part)]
    for part in site.debs:
        if not is_installed(facts, part) and part not in broken:
            await site.trace.note("package", part)
    if broken:
        site.progress("an installation was broken off here; it is mended")
        # What cannot be configured now is reinstalled below.
        await _apt_free(
            site, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", "--configure", "-a", may_fail=True
        )
    words = [*APT, "install", "--no-install-recommends", *(["--reinstall"] if broken else []), *site.uploaded.values()]
    try:
        await _apt_free(site, *words)
    except RemoteCommandError as error:
        if not _MISSING.search(error.stderr):
            raise explain(error) from error
        site.progress("its lists of packages are renewed")
        try:
            await _apt_free(site, *APT, "update", timeout=UPDATE_TIMEOUT)
            await _apt_free(site, *words)
        except RemoteCommandError as again:
            raise explain(again) from again
    names = [f"{deb.package} {deb.version}" for deb in site.debs.values()]
    site.stale |= set(site.debs)
    return Outcome(f"installed {listed(names)}", changed=True)


async def _apt_free(site: Site, *words: str, timeout: float = INSTALL_TIMEOUT, may_fail: bool = False) -> None:
    """Run a command of apt or dpkg once nobody else holds their lock.

    Raises: RemoteCommandError — it failed for another reason. StepError — the lock is held for too long.
    """
    until = trio.current_time() + LOCK_WAIT
    told = ""
    while True:
        try:
            await site.root(*words, timeout=timeout)
            return
        except RemoteCommandError as error:
            held = _LOCKED.search(error.stderr)
            if held is None:
                if may_fail:
                    return
                raise
            who = await _holder(site, held)
            if trio.current_time() >= until:
                raise StepError(
                    f"{who} has held the lock of apt for {LOCK_WAIT / MINUTES:.0f} minutes there",
                    "See what it does (ps), and run the same command again when it has ended.",
                ) from error
            if who != told:
                site.progress(f"waits for {who}, which holds the lock of apt there")
                told = who
        await trio.sleep(LOCK_POLL)


async def _holder(site: Site, held: re.Match[str]) -> str:
    pid = held["pid"] or held["pid2"]
    if held["name"]:
        return f"{held['name']} (process {pid})"
    if pid is None:
        return "another process"
    try:
        name = (await site.root("cat", f"/proc/{pid}/comm")).strip()
    except RemoteCommandError:
        name = ""
    return f"{name or 'something'} (process {pid})"


async def configure(site: Site) -> Outcome:
    """Set what is not as the package has it."""
    changed = []
    for part in site.wish.parts:
        values, path = site.wish.settings(part), part.agent.settings
        if not values:
            continue
        before = await site.root("cat", path)
        after = set_keys(before, values)
        if after == before:
            continue
        if not site.trace.has("package", part):
            # It was there before us: what is undone puts it back.
            await site.root("cp", "-p", path, _kept(site, part))
        await site.trace.note("settings", part)
        await _write(site, path, after)
        site.stale.add(part)
        changed += [f"{key} = {value}" for key, value in values.items()]
    if not changed:
        return Outcome("settings are as they should be", changed=False)
    return Outcome(f"set {listed(changed)}", changed=True)


async def _write(site: Site, path: str, text: str) -> None:
    script = 'cat > "$1.new" && chmod --reference="$1" "$1.new" && sync "$1.new" && mv "$1.new" "$1"'
    await site.root("sh", "-c", script, "sh", path, stdin=text.encode())


def _kept(site: Site, part: Part) -> str:
    return f"{site.trace.folder}/{part.agent.program}.toml"


async def undo_configure(site: Site) -> str:
    """Put settings back that were there before; those of a package of ours go with it."""
    back = []
    for part in site.wish.parts:
        if site.trace.has("settings", part) and not site.trace.has("package", part):
            path = part.agent.settings
            await site.root("sh", "-c", 'test ! -e "$1" || mv "$1" "$2"', "sh", _kept(site, part), path)
            back.append(path)
    return f"{listed(back)} is as it was" if back else ""


async def undo_install(site: Site) -> str:
    """Purge what this onboarding installed; what was there before stays."""
    ours = [part.agent.package for part in site.wish.parts if site.trace.has("package", part)]
    if not ours:
        return ""
    try:
        await _apt_free(site, *APT, "purge", *ours)
    except RemoteCommandError as error:
        raise explain(error) from error
    return f"purged {listed(ours)}"


async def _has(site: Site, target: str, digest: str) -> bool:
    try:
        printed = await site.remote.run("sha256sum", "--", target)
    except RemoteCommandError:
        return False
    return printed.decode(errors="replace").split()[:1] == [digest]

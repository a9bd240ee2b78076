"""What an upgrade does on a machine: its commands, and what it keeps there between two of them.

``/var/cache/pharos`` is root's own. In it are the packages of the version in use and of the one before, and while an
upgrade is under way a note of it: whoever comes next, after a kill or a cut, goes on from there.
"""

from __future__ import annotations

import contextlib
from pathlib import PurePosixPath
from typing import Final

import attrs
import msgspec
import trio

from pharos.helm.onboard.debs import Deb
from pharos.helm.onboard.errors import OnboardError, RemoteAnswerError, RemoteCommandError
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.remote import Progress, Remote
from pharos.helm.onboard.upgrade.plan import Baseline
from pharos.wire.units import MIB, MINUTES, SECONDS
from pharos.wire.world import in_thread

CACHE: Final = PurePosixPath("/var/cache/pharos")
INSTALL_TIMEOUT: Final = 10 * MINUTES
"""A small machine unpacks in seconds; waiting for another apt, and fetching a new dependency, may take minutes."""
LOCK_TIMEOUT: Final = 120
"""Seconds that apt waits for another one: unattended-upgrades takes a minute or two."""
PACK_TIMEOUT: Final = 2 * MINUTES
CLEAN_TIMEOUT: Final = 5 * SECONDS
"""For taking away a file of ours below /tmp, when we are told to stop."""
ROOM: Final = 96 * MIB
"""Free octets below /var and /usr: two packages of 12 MB with one unpacked, and a new version beside the old."""
READY: Final = "installed"

_NOTE_FORMAT: Final = 1
# Microseconds since 1970: no machine is in the year 30,000.
_LATEST: Final = 10**18
_APT: Final = (
    *("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get", "--quiet", "--yes", "--no-install-recommends"),
    *("--allow-downgrades", "--reinstall", "-o", "Dpkg::Options::=--force-confold"),
    *("-o", "Dpkg::Options::=--force-confdef", "-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT}", "install"),
)
_DPKG: Final = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "dpkg", "--force-confold", "--force-confdef")
_WRITE: Final = 'umask 077 && cat > "$1.new" && mv -f "$1.new" "$1"'
_READ: Final = 'if [ -e "$1" ]; then cat "$1"; fi'
_TAKE: Final = 'install -m 0600 -o root -g root "$1" "$2.new" && sha256sum "$2.new"'
# A package that is installed, packed anew: the files that dpkg knows it by, and what it was told of it.
_PACK: Final = """
set -eu
package=$1; target=$2
tree=$(mktemp --directory "$target.XXXXXX")
trap 'rm -rf "$tree"' EXIT
chmod 0755 "$tree"
mkdir "$tree/DEBIAN"
dpkg-query --status "$package" |
    sed -e '/^Status:/d' -e '/^Conffiles:/,/^[^ ]/{/^Conffiles:/d;/^ /d}' > "$tree/DEBIAN/control"
dpkg-query --control-path "$package" | while IFS= read -r path; do
    cp -p "$path" "$tree/DEBIAN/${path##*.}"
done
dpkg-query --listfiles "$package" | while IFS= read -r path; do
    if [ "$path" != /. ] && { [ -e "$path" ] || [ -L "$path" ]; }; then printf '%s\\n' "${path#/}"; fi
done > "$tree/DEBIAN/files"
tar --create --directory=/ --no-recursion --verbatim-files-from --files-from="$tree/DEBIAN/files" |
    tar --extract --preserve-permissions --same-owner --directory="$tree"
rm "$tree/DEBIAN/files"
dpkg-deb -Zgzip -z1 --build "$tree" "$target.new" > /dev/null
mv -f "$target.new" "$target"
"""


@attrs.frozen(kw_only=True)
class Installed:
    """What dpkg says of a package."""

    version: str
    """Empty: it is not there."""
    state: str
    """``installed``, or how far it came: ``half-configured``."""

    @property
    def ready(self) -> bool:
        """Whether it is whole."""
        return self.state == READY


@attrs.frozen(kw_only=True)
class Note:
    """An upgrade that is under way."""

    old: str
    """Version before it."""
    new: str
    kept: str
    """Path of the old version's package; empty: there is none, and so no way back."""
    baseline: Baseline
    condemned: bool = False
    """The new version was tried and is no good; the old one has to come back."""
    format: int = _NOTE_FORMAT

    def render(self) -> bytes:
        """Return it as it is written there."""
        return msgspec.json.encode(self)

    @classmethod
    def parse(cls, content: bytes) -> Note:
        """Read one; the machine may have written anything. Raises: RemoteAnswerError — it is none of ours."""
        try:
            note = msgspec.json.decode(content, type=cls)
        except msgspec.MsgspecError:
            note = None
        if note is None or note.format != _NOTE_FORMAT or not 0 <= note.baseline.since < _LATEST:
            raise RemoteAnswerError(
                f"the note of an earlier upgrade there does not read; look at {CACHE} and remove it"
            )
        return note


@attrs.frozen
class Place:
    """One package on one machine."""

    remote: Remote
    part: Part

    @property
    def package(self) -> str:
        """Its name."""
        return self.part.agent.package

    @property
    def _note(self) -> str:
        return str(CACHE / f"{self.package}.upgrade")

    def path_of(self, version: str) -> str:
        """Return where a version's package is kept."""
        return str(CACHE / f"{self.package}_{version}_{self.remote.facts.arch}.deb")

    async def installed(self) -> Installed:
        """Ask dpkg."""
        wanted = "--showformat=${Version} ${db:Status-Status}"
        try:
            said = (
                (await self.remote.run("dpkg-query", "--show", wanted, self.package)).decode(errors="replace").split()
            )
        except RemoteCommandError as error:
            if error.returncode == 1:
                return Installed(version="", state="not-installed")
            raise
        if len(said) == 1:
            return Installed(version="", state=said[0])
        if len(said) != 2:
            raise RemoteAnswerError(f"dpkg does not say which version of {self.package} is there")
        return Installed(version=said[0], state=said[1])

    async def falls(self) -> int:
        """Return how often systemd has started the agent anew since somebody did."""
        unit = f"{self.package}.service"
        said = await self.remote.run("systemctl", "show", "--value", "--property=NRestarts", unit)
        return int(said) if said.strip().isdigit() else 0

    async def is_older(self, version: str, than: str) -> bool:
        """Return whether a version is before another one in Debian's order."""
        try:
            await self.remote.run("dpkg", "--compare-versions", version, "lt", than)
        except RemoteCommandError as error:
            if error.returncode == 1:
                return False
            raise
        return True

    # -- the note

    async def read_note(self) -> Note | None:
        """Return the note of an upgrade that was not brought to its end. Raises: RemoteAnswerError."""
        await self.remote.run("install", "-d", "-m", "0700", "-o", "root", "-g", "root", str(CACHE), root=True)
        content = await self.remote.run("sh", "-c", _READ, "sh", self._note, root=True)
        return Note.parse(content) if content else None

    async def write_note(self, note: Note) -> None:
        """Write it, whole or not at all."""
        await self.remote.run("sh", "-c", _WRITE, "sh", self._note, stdin=note.render(), root=True)

    async def clear_note(self) -> None:
        """The upgrade is over."""
        await self.remote.run("rm", "-f", self._note, root=True)

    # -- packages

    async def has(self, version: str) -> bool:
        """Return whether a whole package of a version is kept there."""
        try:
            said = await self.remote.run("dpkg-deb", "--field", self.path_of(version), "Package", "Version", root=True)
            # A package that is cut short has its fields all the same, for they come first.
            await self.remote.run(
                "sh", "-c", 'dpkg-deb --fsys-tarfile "$1" > /dev/null', "sh", self.path_of(version), root=True
            )
        except RemoteCommandError:
            return False
        return said.decode(errors="replace").split() == ["Package:", self.package, "Version:", version]

    async def keep(self, version: str) -> str:
        """See to it that the installed version's package is there, and return its path.

        Where nobody has kept the file, as where somebody installed by hand, it is packed of what is installed.
        """
        path = self.path_of(version)
        if not await self.has(version):
            await self.remote.run("sh", "-c", _PACK, "sh", self.package, path, root=True, timeout=PACK_TIMEOUT)
        return path

    async def put(self, deb: Deb, progress: Progress) -> str:
        """Bring a package there and return its path. Raises: RemoteAnswerError — what arrived is another file."""
        wanted = await in_thread(deb.digest)
        target = self.path_of(deb.version)
        made = await self.remote.run("mktemp", "--directory", "--tmpdir", "pharos.XXXXXXXXXX")
        folder = made.decode(errors="replace").strip()
        try:
            await self.remote.upload(deb.path, f"{folder}/package.deb", progress)
            said = await self.remote.run("sh", "-c", _TAKE, "sh", f"{folder}/package.deb", target, root=True)
            if said.decode(errors="replace").split()[:1] != [wanted]:
                raise RemoteAnswerError(f"what arrived there is not {deb.path.name}; run the same again")
            await self.remote.run("mv", "-f", f"{target}.new", target, root=True)
        finally:
            with trio.move_on_after(CLEAN_TIMEOUT, shield=True), contextlib.suppress(OnboardError):
                await self.remote.run("rm", "-rf", folder)
        return target

    async def install(self, path: str) -> None:
        """Have apt install a package that is there; settings that somebody has changed stay.

        Raises: RemoteCommandError — apt could not.
        """
        try:
            await self.remote.run(*_APT, path, root=True, timeout=INSTALL_TIMEOUT)
        except RemoteCommandError as error:
            if "dpkg --configure -a" not in error.stderr:
                raise
            # Somebody pulled the plug on dpkg; apt says this, and will do nothing before it is done.
            await self.remote.run(*_DPKG, "--configure", "--pending", root=True, timeout=INSTALL_TIMEOUT)
            await self.remote.run(*_APT, path, root=True, timeout=INSTALL_TIMEOUT)

    async def force(self, path: str) -> None:
        """Install a package that was installed before, when apt finds the other one in too bad a state."""
        try:
            await self.install(path)
        except RemoteCommandError:
            await self.remote.run(*_DPKG, "--install", path, root=True, timeout=INSTALL_TIMEOUT)

    async def prune(self, *versions: str) -> None:
        """Remove the packages of all other versions."""
        keep = [word for version in versions for word in ("!", "-name", PurePosixPath(self.path_of(version)).name)]
        await self.remote.run(
            *("find", str(CACHE), "-maxdepth", "1", "-type", "f", "-name", f"{self.package}_*.deb*"),
            *keep,
            "-delete",
            root=True,
        )

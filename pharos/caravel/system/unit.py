"""The units of systemd by which a machine is always in the tunnel: what they say, put in place and taken away.

`caravel-up.service` runs the connection and starts it again whenever it ends. `caravel-boot.service` puts the kill
switch's table up before there is any network, from a file, with nothing of ours running.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.commands import find_command, run_command
from pharos.caravel.system.nft import nft_document
from pharos.caravel.system.plan import SystemPlan
from pharos.wire.files import open_state_directory, write_atomic

UP: Final = "caravel-up.service"
BOOT: Final = "caravel-boot.service"
UNITS: Final = Path("etc/systemd/system")
"""Below the root."""
BOOT_TABLE: Final = Path("var/lib/pharos-caravel/boot.json")
UNIT_MODE: Final = 0o644
SYSTEMD: Final = Path("run/systemd/system")
"""There while systemd runs this machine (sd_booted(3))."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=@,+-]+")

UP_UNIT: Final = """\
[Unit]
Description=Pharos caravel: this machine's tunnel
Documentation=man:caravel(1)
Wants=network.target
After=network.target caravel-boot.service nftables.service firewalld.service systemd-resolved.service
# It comes back without anybody, however often it falls; what it holds, it holds meanwhile.
StartLimitIntervalSec=0

[Service]
Type=notify
# One whose loop hangs is no better than one that fell.
WatchdogSec=30
ExecStart={command}
# Whatever ends it but `caravel down`, which has it end well.
Restart=always
RestartPreventExitStatus=0
RestartSec=1
# It puts back what it changed: each program that it asks may take 20 s.
TimeoutStopSec=75
# What was changed; whoever comes after a crash undoes that.
RuntimeDirectory=pharos-caravel
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
StateDirectory=pharos-caravel
StateDirectoryMode=0700
UMask=0077

# Root by name, for a store that belongs to a user and for resolv.conf; of root's rights those over networks and files.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw

# Packets wait for nobody.
CPUWeight=1000
OOMScoreAdjust=-500
# Keys are in its memory.
LimitCORE=0

LockPersonality=yes
MemoryDenyWriteExecute=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
# All switches of the kernel but those of the network.
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
# /etc for resolv.conf, which is replaced as a whole.
ReadWritePaths=/proc/sys/net /etc{writable}
RemoveIPC=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# Files of a store are handed to the owner of their directory.
SystemCallFilter=@chown

[Install]
WantedBy=multi-user.target
"""
BOOT_UNIT: Final = """\
[Unit]
Description=Pharos caravel: nothing leaves this machine before its tunnel is up
Documentation=man:caravel(1)
DefaultDependencies=no
# Firewalls that begin with an empty ruleset have begun by then.
After=local-fs.target nftables.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
RequiresMountsFor={table}
ConditionPathExists={table}

[Service]
Type=oneshot
# To stop it takes nothing away: that is `caravel down`'s to do.
RemainAfterExit=yes
ExecStart={nft} -j -f {table}
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK
PrivateDevices=yes
ProtectHome=yes
ProtectSystem=strict
SystemCallArchitectures=native

[Install]
WantedBy=sysinit.target
"""


def up_unit(command: Sequence[str], *, writable: Sequence[Path] = ()) -> str:
    """Return the unit that runs a command, whose first word is a path; ``writable`` is where its store is.

    Raises: SystemModeError — a word cannot stand in a unit.
    """
    places = "".join(f" -{_word(str(path))}" for path in writable)
    return UP_UNIT.format(command=" ".join(map(_word, command)), writable=places)


def boot_unit(nft: str, table: Path) -> str:
    """Return the unit that puts up a table by nft(8), whose path is given."""
    return BOOT_UNIT.format(nft=_word(nft), table=_word(str(table)))


async def install(
    command: Sequence[str], plan: SystemPlan, *, boot: bool, writable: Sequence[Path] = (), root: Path = Path("/")
) -> list[Path]:
    """Have this machine be in the tunnel from now on, and after each start; return the units that were written.

    ``command`` must say READY and that it is alive as sd_notify(3) has it. With ``boot`` the plan's kill switch is up
    before there is a network. What was there before is replaced.

    Raises: SystemModeError — this machine has no systemd or no nft, a word does not fit, or systemctl said no. OSError.
    """
    if not (root / SYSTEMD).is_dir():
        raise SystemModeError("always-on needs systemd, which does not run this machine; start caravel by what does")
    if not Path(command[0]).is_absolute():
        raise SystemModeError(f"{command[0]} is no absolute path; a unit knows no others")
    written = {root / UNITS / UP: up_unit(command, writable=writable)}
    if boot:
        nft = find_command("nft")
        if nft is None:
            raise SystemModeError("nft is missing; install it: apt install nftables")
        table = root / BOOT_TABLE
        open_state_directory(table.parent)
        write_atomic(table, json.dumps(nft_document(plan)).encode())
        written[root / UNITS / BOOT] = boot_unit(nft, table)
    for path, text in written.items():
        write_atomic(path, text.encode(), mode=UNIT_MODE)
    if not boot:
        await _forget(root, BOOT)
    await run_command("systemctl", "daemon-reload")
    await run_command("systemctl", "enable", *[path.name for path in written])
    return list(written)


async def remove(*, root: Path = Path("/")) -> list[Path]:
    """Take the units away; return those that were there. What runs ends; its kill switch `restore_system` removes.

    Raises: SystemModeError — systemctl said no. OSError.
    """
    gone = [path for name in (UP, BOOT) if (path := await _forget(root, name)) is not None]
    if gone:
        await run_command("systemctl", "daemon-reload")
    return gone


async def _forget(root: Path, name: str) -> Path | None:
    path = root / UNITS / name
    if name == BOOT:
        (root / BOOT_TABLE).unlink(missing_ok=True)
    if not path.exists():
        return None
    await run_command("systemctl", "disable", "--now", name)
    path.unlink()
    return path


def _word(word: str) -> str:
    """Write a word as systemd reads it (systemd.service(5), "Command lines")."""
    if _PLAIN.fullmatch(word):
        return word
    if not word.isprintable():
        raise SystemModeError(f"{word!r} cannot stand in a unit")
    quoted = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{quoted}"'

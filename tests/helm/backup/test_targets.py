"""Where a backup may go: by OpenSSH's own sftp and its server, or into a command; never by a shell."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from pharos.helm.backup.archive import Made
from pharos.helm.backup.targets import CommandTarget, SftpTarget, parse_target
from pharos.helm.ca.sealedfile import BackupHeader
from pharos.helm.errors import BackupError, InvalidRequestError
from pharos.wire.ids import FleetId

SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server")
SERVER = next((path for path in SERVERS if Path(path).exists()), "")
needs_sftp = pytest.mark.skipif(not SERVER or shutil.which("sftp") is None, reason="OpenSSH's sftp is not installed")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    folder = tmp_path / "made"
    folder.mkdir()
    path = folder / "pharos-0123456789abcdef-20270115T080000Z.backup"
    path.write_bytes(bytes(range(256)) * 1000)
    header = BackupHeader(
        fleet=FleetId("0123456789abcdef"), at=1, epoch=1, with_root=False, by="test", kit=b"", helm=b""
    )
    return Made(path=path, header=header, size=256_000, sha256="0" * 64)


def wrapper(folder: Path, script: str) -> tuple[str, ...]:
    """What stands in for sftp's way to the server: its options, then the server's own program instead of a host."""
    program = folder / "sftp-here"
    program.write_text(script)
    return sys.executable, str(program)


DIRECT = f"""
import subprocess, sys
batch, dash, end, server = sys.argv[1:]
assert (batch, dash, end, server) == ("-b", "-", "--", "me@nas.example"), sys.argv
commands = sys.stdin.read()
sys.exit(subprocess.run(["sftp", "-q", "-b", "-", "-D", "{SERVER}"], input=commands, text=True).returncode)
"""


@needs_sftp
@pytest.mark.parametrize("folder_name", ["backups", 'odd "name" [1] * \\ end'])
def test_sftp_brings_the_file_under_its_name_and_leaves_no_other(made: Made, tmp_path: Path, folder_name: str) -> None:
    folder = tmp_path / folder_name
    folder.mkdir()
    target = SftpTarget("me@nas.example", str(folder), wrapper(tmp_path, DIRECT))
    assert target.deliver(made) == f"sftp:me@nas.example:{folder}/{made.path.name}"
    assert [path.name for path in folder.iterdir()] == [made.path.name]
    assert (folder / made.path.name).read_bytes() == made.path.read_bytes()
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]


@needs_sftp
def test_sftp_that_fails_is_told_in_its_own_words(made: Made, tmp_path: Path) -> None:
    target = SftpTarget("me@nas.example", str(tmp_path / "absent"), wrapper(tmp_path, DIRECT))
    with pytest.raises(BackupError, match=r"failed with 1: .*No such file"):
        target.deliver(made)


@needs_sftp
def test_server_that_gives_back_another_file_does_not_get_its_name(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    spoil = DIRECT.replace(
        "sys.exit(",
        f'''lines = commands.splitlines(True)
subprocess.run(["sftp", "-q", "-b", "-", "-D", "{SERVER}"], input=lines[0], text=True, check=True)
part = next(__import__("pathlib").Path({str(folder)!r}).iterdir())
part.write_bytes(part.read_bytes()[:-1] + b"!")
commands = "".join(lines[1:])
sys.exit(''',
    )
    with pytest.raises(BackupError, match="another file than it was sent"):
        SftpTarget("me@nas.example", str(folder), wrapper(tmp_path, spoil)).deliver(made)
    assert not (folder / made.path.name).exists()


def test_command_reads_the_file_and_is_told_its_name(made: Made, tmp_path: Path) -> None:
    copy = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    place = CommandTarget((sys.executable, "-c", copy, f"{tmp_path}/{{name}}")).deliver(made)
    assert place.startswith("cmd:")
    assert (tmp_path / made.path.name).read_bytes() == made.path.read_bytes()


def test_command_that_fails_or_is_not_there_is_told(made: Made) -> None:
    with pytest.raises(BackupError, match="failed with 3: no quota"):
        CommandTarget((sys.executable, "-c", "import sys; print('no quota', file=sys.stderr); sys.exit(3)")).deliver(
            made
        )
    with pytest.raises(BackupError, match="could not be started"):
        CommandTarget(("/nowhere/at/all",)).deliver(made)


def test_no_word_of_a_command_is_read_by_a_shell(made: Made, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    target = parse_target(f"cmd:{sys.executable} -c pass '; touch {canary}' $(touch\\ {canary})")
    assert isinstance(target, CommandTarget)
    target.deliver(made)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/media/stick", Path("/media/stick")),
        (".", Path()),
        ("sftp:me@nas.example:/backups", SftpTarget("me@nas.example", "/backups")),
        ("sftp:nas:/b c", SftpTarget("nas", "/b c")),
        ("sftp:me@[2001:db8::1]:/b", SftpTarget("me@[2001:db8::1]", "/b")),
        ("cmd:rclone rcat 'r:a b/{name}'", CommandTarget(("rclone", "rcat", "r:a b/{name}"))),
    ],
)
def test_place_is_read(text: str, wanted: object) -> None:
    assert parse_target(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sftp:",
        "sftp:host",
        "sftp:host:relative",
        "sftp:-oProxyCommand=x:/b",
        "sftp:me@-oProxyCommand=x:/b",
        "sftp:a b:/c",
        "sftp:host:/a\nrm /b",
        "cmd:",
        "cmd:'open",
    ],
)
def test_place_that_is_none_or_an_option_in_disguise_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_target(text)

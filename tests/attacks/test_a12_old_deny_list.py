"""Row 12. Position: whoever can replay to a member what helm once signed. Wants: a deny list of before a revocation.

Countermeasure: (epoch, version) only goes up; the list in use is on disk before it is in force, and survives kill -9.
Here at the level of wire; what the daemons make of it is in tests/wire/test_keeping.py, tests/buoy and tests/beacon.
"""

import base64
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from pharos.wire.errors import DenyListError, StateFileError
from pharos.wire.files import StateFile
from pharos.wire.pki.denylist import DenyList
from pharos.wire.pki.roles import Role
from pharos.wire.seal.denylist import sign_deny_list, verify_deny_list
from tests.support.pki import home_fleet

HOME = home_fleet()
KEY = SigningKey(bytes(32))
LOST = HOME.identity(Role.DEVICE, "lost")
BEFORE, REVOKED, LATER = (
    sign_deny_list(HOME.deny_list(*members, version=version), signing_key=KEY)
    for version, members in ((1, ()), (2, (LOST,)), (3, (LOST,)))
)


def read(blob: bytes, *, in_use: DenyList | None = None) -> DenyList:
    return verify_deny_list(blob, fleet=HOME.id, signing_keys=[bytes(KEY.verify_key)], in_use=in_use)


def file_in(folder: Path) -> StateFile:
    return StateFile(folder / "denylist.json", "test/deny-list/v1", "push it again")


def in_use(folder: Path) -> DenyList | None:
    """What a member goes by after a start."""
    body = file_in(folder).load()
    return None if body is None else read(base64.b64decode(body["list"]))


def body_of(blob: bytes) -> dict[str, str]:
    return {"list": base64.b64encode(blob).decode()}


@pytest.mark.red_inside
def test_a12_old_list_is_refused() -> None:
    current = read(REVOKED)
    # Red: a member that does not know what it has takes the old one, which denies nobody.
    assert not read(BEFORE).denies(LOST, bytes(32))
    with pytest.raises(DenyListError, match="in use"):
        read(BEFORE, in_use=current)
    assert read(REVOKED, in_use=current) == current
    assert read(LATER, in_use=current).newer_than(current)


def test_a12_restored_helm_counts_in_a_new_epoch() -> None:
    current = read(LATER)
    restored = sign_deny_list(HOME.deny_list(LOST, epoch=2, version=1), signing_key=KEY)
    replaced = read(restored, in_use=current)
    for old in (BEFORE, REVOKED, LATER):
        with pytest.raises(DenyListError, match="in use"):
            read(old, in_use=replaced)


# Stores a list, and is killed at the rename that puts it in place. Weakened, it makes room for the new one first.
STORE = """
import os, signal, sys
from pathlib import Path
from pharos.wire.files import StateFile

folder, list_, moment = sys.argv[1:]
rename = Path.replace

def replace(self, target):
    if moment == "weakened":
        Path(target).unlink()
    if moment == "after":
        rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)

Path.replace = replace
StateFile(Path(folder) / "denylist.json", "test/deny-list/v1", "push it again").save({"list": list_})
"""


def killed_while_storing(folder: Path, moment: str) -> DenyList | None:
    """Store REVOKED, and be killed while LATER is stored; return what the member goes by after that."""
    file_in(folder).save(body_of(REVOKED))
    command = [sys.executable, "-c", STORE, str(folder), body_of(LATER)["list"], moment]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    return in_use(folder)


@pytest.mark.parametrize(("moment", "survivor"), [("before", REVOKED), ("after", LATER)])
def test_a12_kill_at_the_rename_brings_no_old_list_back(moment: str, survivor: bytes, tmp_path: Path) -> None:
    after = killed_while_storing(tmp_path, moment)
    assert after == read(survivor)
    with pytest.raises(DenyListError, match="in use"):
        read(BEFORE, in_use=after)
    # The push that was cut short comes again.
    assert read(LATER, in_use=after) == read(LATER)


def test_a12_turns_red_where_the_list_in_use_goes_before_the_new_one_is_there(tmp_path: Path) -> None:
    """The member knows of no list after the kill, and takes the one of before the revocation."""
    after = killed_while_storing(tmp_path, "weakened")
    assert after is None
    assert not read(BEFORE, in_use=after).denies(LOST, bytes(32))


def test_a12_torn_file_is_no_missing_one(tmp_path: Path) -> None:
    """Were it written in place, and killed in the middle: the member must not begin again with nothing in use."""
    file_in(tmp_path).save(body_of(REVOKED))
    path = tmp_path / "denylist.json"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StateFileError, match="corrupt"):
        in_use(tmp_path)
    path.unlink()
    assert in_use(tmp_path) is None

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from pharos.wire.errors import LocalProtocolError
from pharos.wire.pki.roles import CONTROL, Role
from pharos.wire.pki.secretfd import memfd_path, pipe_path
from pharos.wire.pki.tls import client_context, server_context
from tests.support.pki import home_fleet
from tests.support.tls import shake_hands

HOME = home_fleet()
needs_memfd = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memfd_create")


class HandOver(Protocol):
    def __call__(self, data: bytes) -> AbstractContextManager[str]: ...


both = pytest.mark.parametrize("hand_over", [pytest.param(memfd_path, marks=needs_memfd), pipe_path])


@pytest.fixture(params=[pytest.param("memfd", marks=needs_memfd), "pipe"])
def paths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that OpenSSL was given, on a system with memfd_create and on one without."""
    seen: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def spy(context: ssl.SSLContext, certfile: str, keyfile: str) -> None:
        seen.extend((certfile, keyfile))
        load(context, certfile, keyfile)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    if request.param == "pipe":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    yield seen
    prefix = "/dev/fd/" if request.param == "pipe" else "/proc/self/fd/"
    assert seen
    assert all(path.startswith(prefix) for path in seen)


def test_keys_reach_openssl_by_descriptor(paths: list[str]) -> None:
    server = server_context(HOME.member(Role.NODE), trust=HOME.trust, policy=CONTROL)
    client = client_context(trust=HOME.trust, credentials=HOME.member(Role.CONTROLLER))
    shake_hands(server, client, server_hostname=HOME.identity(Role.NODE).dns_name)
    assert len(paths) == 4


@both
def test_path_reads_as_the_data(hand_over: HandOver) -> None:
    with hand_over(b"secret" * 500) as path:
        assert Path(path).read_bytes() == b"secret" * 500


@both
def test_nothing_is_left_open(hand_over: HandOver) -> None:
    def descriptors() -> set[str]:
        return {path.name for path in Path("/dev/fd").iterdir()}

    before = descriptors()
    with hand_over(b"secret") as path:
        during = descriptors()
        assert Path(path).name in during
        assert not os.get_inheritable(int(Path(path).name))
    with pytest.raises(RuntimeError), hand_over(b"secret"):
        raise RuntimeError
    assert len(descriptors()) == len(before)


def test_pipe_does_not_wait_for_a_reader_that_is_ourselves() -> None:
    with pytest.raises(LocalProtocolError, match="pipe"), pipe_path(bytes(1 << 20)):
        pytest.fail("a pipe of 1 MiB")


AUDITED = """
import os, sys
from pharos.wire.pki.roles import CONTROL, INGRESS, Role
from pharos.wire.pki.tls import client_context, enrolment_context, server_context
from tests.support.pki import home_fleet, utc_now

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "tempfile.mkstemp", "tempfile.mkdtemp"}

def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        written = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if written and not isinstance(path, int):
            print("wrote", path)
    elif event in CHANGES:
        print(event, arguments)

fleet = home_fleet()
sys.addaudithook(hook)
for _ in range(2):
    server_context(fleet.member(Role.NODE), trust=fleet.trust, policy=CONTROL)
    server_context(fleet.member(Role.RELAY), trust=fleet.trust, policy=INGRESS)
    client_context(trust=fleet.trust, credentials=fleet.member(Role.CONTROLLER))
    enrolment_context(root_hash=fleet.root_hash, relay_id="one", now=utc_now())
    if hasattr(os, "memfd_create"):
        del os.memfd_create
if "--leak" in sys.argv:
    open("key.pem", "w").close()
print("done")
"""


def audit(folder: Path, *arguments: str) -> list[str]:
    """Run the making of every context where each file that Python opens for writing is reported."""
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": str(root), "HOME": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", AUDITED, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return result.stdout.splitlines()


def test_no_file_is_ever_written(tmp_path: Path) -> None:
    assert audit(tmp_path) == ["done"]
    assert list(tmp_path.rglob("*")) == []
    assert audit(tmp_path, "--leak") == ["wrote key.pem", "done"]
    assert [path.name for path in tmp_path.rglob("*")] == ["key.pem"]

"""A node or relay keeps the newest that helm signed: on disk first, never an older one, over every restart."""

from __future__ import annotations

import datetime
import os
import signal
import stat
import sys
from pathlib import Path

import attrs
import pytest
import trio

from pharos.wire import keeping as module
from pharos.wire.agent import AgentKeys
from pharos.wire.errors import (
    AgentError,
    DenyListError,
    ManifestError,
    PeerRejectedError,
    RemoteProtocolError,
    StateFileError,
)
from pharos.wire.keeping import Keeping
from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.roles import CONTROL, Authority, Role
from pharos.wire.seal.denylist import sign_deny_list
from tests.support.agents import grant_for, joined
from tests.support.pki import believing_both, home_fleet, other_fleet, utc_now
from tests.support.trust import NEXT_SIGNING_KEY, SIGNING_KEY, Signer

HOME = home_fleet()
HELM = Signer()
LOST = HOME.identity(Role.CONTROLLER, "lost")
MANIFEST = HELM.manifest(3)
BEFORE, REVOKED, LATER = HELM.deny_list(), HELM.deny_list(LOST, version=2), HELM.deny_list(LOST, version=3)


def member(folder: Path, role: Role = Role.NODE) -> AgentKeys:
    return joined(folder, role) if not (folder / "identity.json").exists() else AgentKeys(folder, role)


def up(folder: Path, role: Role = Role.NODE) -> Keeping:
    """Come up from disk."""
    keys = member(folder, role)
    return Keeping(folder, keys, keys.membership(now=utc_now()))


async def test_newest_is_kept_over_a_restart(tmp_path: Path) -> None:
    keeping = up(tmp_path)
    assert (keeping.manifest_version, keeping.deny_order, keeping.checkpoint) == (0, (0, 0), b"")
    checkpoint = HELM.checkpoint(7)
    assert await keeping.take(manifest=MANIFEST, deny_list=REVOKED, checkpoint=checkpoint)
    for held in (keeping, up(tmp_path)):
        assert (held.manifest_version, held.deny_order, held.checkpoint) == (3, (1, 2), checkpoint)
        assert held.deny_list == REVOKED
    assert stat.S_IMODE((tmp_path / "trust.json").stat().st_mode) == 0o600


async def test_same_again_is_not_written_again(tmp_path: Path) -> None:
    keeping = up(tmp_path)
    await keeping.take(manifest=MANIFEST, deny_list=REVOKED)
    written = (tmp_path / "trust.json").stat()
    assert not await keeping.take(manifest=MANIFEST, deny_list=REVOKED)
    assert (tmp_path / "trust.json").stat() == written


async def test_older_manifest_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    await up(tmp_path).take(manifest=MANIFEST)
    with pytest.raises(ManifestError, match="3 is in use"):
        await up(tmp_path).take(manifest=HELM.manifest(2))


async def test_manifest_of_another_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        await up(tmp_path).take(manifest=Signer(fleet=other_fleet()).manifest(9))
    assert not (tmp_path / "trust.json").exists()


async def test_a12_older_deny_list_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    await up(tmp_path).take(manifest=MANIFEST, deny_list=REVOKED)
    for keeping in (up(tmp_path), up(tmp_path)):
        with pytest.raises(DenyListError, match="in use"):
            await keeping.take(deny_list=BEFORE)
        assert keeping.deny_order == (1, 2)
    # Red: a member that lost its file takes the old list, and lets in again who was revoked.
    (tmp_path / "trust.json").unlink()
    forgetful = up(tmp_path)
    await forgetful.take(manifest=MANIFEST, deny_list=BEFORE)
    assert forgetful.standing.deny_list is not None
    assert not forgetful.standing.deny_list.denies(LOST, bytes(32))


async def test_deny_list_of_another_signer_is_refused(tmp_path: Path) -> None:
    keeping = up(tmp_path)
    with pytest.raises(DenyListError, match="before a trust manifest"):
        await keeping.take(deny_list=REVOKED)
    with pytest.raises(DenyListError, match="refused"):
        await keeping.take(manifest=MANIFEST, deny_list=Signer(key=NEXT_SIGNING_KEY).deny_list(LOST))
    assert keeping.manifest_version == 3, "what came before the refused one is in force"
    assert keeping.deny_order == (0, 0)


async def test_list_signed_by_a_key_that_was_dropped_is_still_in_force_after_a_restart(tmp_path: Path) -> None:
    """The manifest that drops the key and the list signed anew may be a kill apart."""
    await up(tmp_path).take(manifest=HELM.manifest(3, next_key=NEXT_SIGNING_KEY), deny_list=REVOKED)
    renewed = Signer(key=NEXT_SIGNING_KEY)
    await up(tmp_path).take(manifest=renewed.manifest(4))
    keeping = up(tmp_path)
    assert keeping.deny_order == (1, 2)
    with pytest.raises(PeerRejectedError, match="revoked"):
        keeping.standing.admit(CONTROL, controller("lost"))
    # The same list by the new key replaces it, though it is no newer.
    again = Signer(key=NEXT_SIGNING_KEY).deny_list(LOST, version=3)
    assert await keeping.take(deny_list=again)
    assert up(tmp_path).deny_list == again
    # And what the old key signs from now on is nobody's.
    with pytest.raises(DenyListError):
        await keeping.take(deny_list=HELM.deny_list(version=9))


def controller(name: str) -> bytes:
    return certificate_to_der(HOME.member(Role.CONTROLLER, name).certificate)


async def test_list_is_on_disk_before_it_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = up(tmp_path)
    await keeping.take(manifest=MANIFEST, deny_list=BEFORE)

    def fail(_descriptor: int) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="gone"):
            await keeping.take(deny_list=REVOKED)
    assert keeping.deny_order == up(tmp_path).deny_order == (1, 1)
    # It comes again, and counts.
    await keeping.take(deny_list=REVOKED)
    assert keeping.deny_order == up(tmp_path).deny_order == (1, 2)


# Takes a deny list, and is killed at the rename that puts it in place.
KILLED = """
import os, signal, sys
from pathlib import Path
import trio
from pharos.wire.agent import AgentKeys
from pharos.wire.keeping import Keeping
from pharos.wire.pki.roles import Role
from pharos.wire.world import utc_now

folder, blob, moment = Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3]
keys = AgentKeys(folder, Role.NODE)
keeping = Keeping(folder, keys, keys.membership(now=utc_now()))
rename = Path.replace

def replace(self, target):
    if moment == "after":
        rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)

Path.replace = replace
trio.run(lambda: keeping.take(deny_list=blob))
"""


@pytest.mark.parametrize(("moment", "survivor"), [("before", (1, 2)), ("after", (1, 3))])
async def test_a12_kill_at_the_rename_brings_no_older_list_back(
    moment: str, survivor: tuple[int, int], tmp_path: Path
) -> None:
    await up(tmp_path).take(manifest=MANIFEST, deny_list=REVOKED)
    command = [sys.executable, "-c", KILLED, str(tmp_path), LATER.hex(), moment]
    with trio.fail_after(60):
        assert (await trio.run_process(command, check=False)).returncode == -signal.SIGKILL
    keeping = up(tmp_path)
    assert keeping.deny_order == survivor
    with pytest.raises(DenyListError, match="in use"):
        await keeping.take(deny_list=BEFORE)
    await keeping.take(deny_list=LATER)
    assert keeping.deny_order == (1, 3)


async def test_damaged_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    await up(tmp_path).take(manifest=MANIFEST, deny_list=REVOKED)
    path = tmp_path / "trust.json"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StateFileError, match=r"trust\.json is corrupt.*restore it from a copy"):
        up(tmp_path)


# -- checkpoints


async def test_largest_checkpoint_is_kept_and_of_two_with_one_size_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeping = up(tmp_path)
    first, larger = HELM.checkpoint(7), HELM.checkpoint(9)
    with pytest.raises(RemoteProtocolError, match="before a trust manifest"):
        await keeping.take(checkpoint=first)
    await keeping.take(manifest=MANIFEST, checkpoint=larger)
    await keeping.take(checkpoint=first)
    assert keeping.checkpoint == larger
    await keeping.take(checkpoint=HELM.checkpoint(9, head=b"f" * 32))
    assert up(tmp_path).checkpoint == larger
    assert "forked" in caplog.text


# -- the clock floor


async def test_clock_that_was_set_back_is_not_believed_after_a_restart(tmp_path: Path) -> None:
    keeping = up(tmp_path)
    await keeping.take(manifest=MANIFEST, checkpoint=HELM.checkpoint(1, at=utc_now() + datetime.timedelta(days=30)))
    keys = member(tmp_path)
    stopped = Keeping(
        tmp_path, keys, keys.membership(now=utc_now()), wall=lambda: datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC)
    )
    assert stopped.standing.now() - utc_now() > datetime.timedelta(days=29)


async def test_helm_whose_clock_is_years_ahead_does_not_shut_us_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = HELM.checkpoint(1, at=utc_now() + datetime.timedelta(days=900))
    beyond = sign_deny_list(attrs.evolve(HOME.deny_list(), issued=2**63 - 1), signing_key=SIGNING_KEY)
    keeping = up(tmp_path)
    await keeping.take(manifest=MANIFEST, deny_list=beyond, checkpoint=ahead)
    keeping.standing.admit(CONTROL, controller("one"))
    # Red: with any time believed, our own fleet has ended.
    weak = up(tmp_path)

    def believe(self: Keeping, signed: float) -> None:
        self.standing.floor.see_signature(datetime.datetime.fromtimestamp(signed, datetime.UTC))

    monkeypatch.setattr(Keeping, "_see", believe)
    await weak.take(checkpoint=HELM.checkpoint(2, at=utc_now() + datetime.timedelta(days=900)))
    with pytest.raises(PeerRejectedError):
        weak.standing.admit(CONTROL, controller("one"))


# -- the trust in use


async def test_manifest_of_the_grant_is_the_first_and_a_newer_grant_brings_a_newer_one(tmp_path: Path) -> None:
    keys = AgentKeys(tmp_path, Role.RELAY)
    keys.install(attrs.evolve(grant_for(keys.make_request()), manifest=HELM.manifest(2)), now=utc_now())
    assert up(tmp_path, Role.RELAY).manifest_version == 2
    keys.install(attrs.evolve(grant_for(keys.make_request()), manifest=MANIFEST), now=utc_now())
    assert up(tmp_path, Role.RELAY).manifest_version == 3
    keys.install(attrs.evolve(grant_for(keys.make_request()), manifest=HELM.manifest(1)), now=utc_now())
    assert up(tmp_path, Role.RELAY).manifest_version == 3


async def test_rotation_is_believed_at_the_next_handshake(tmp_path: Path) -> None:
    keeping, rotated = up(tmp_path), HOME.rotated(Authority.FLEET)
    await keeping.take(manifest=MANIFEST)
    theirs = certificate_to_der(rotated.member(Role.CONTROLLER).certificate)
    with pytest.raises(PeerRejectedError):
        keeping.standing.admit(CONTROL, theirs)
    before = keeping.standing.context(CONTROL)
    await keeping.take(manifest=HELM.manifest(4, trust=believing_both(HOME, rotated)))
    for held in (keeping, up(tmp_path)):
        held.standing.admit(CONTROL, theirs)
        held.standing.admit(CONTROL, controller("one"))
    assert keeping.standing.context(CONTROL) is not before
    await keeping.take(manifest=HELM.manifest(5, trust=rotated.trust))
    with pytest.raises(PeerRejectedError):
        keeping.standing.admit(CONTROL, controller("one"))


@pytest.mark.parametrize("role", [Role.NODE, Role.RELAY])
async def test_node_never_learns_the_device_ca(tmp_path: Path, role: Role) -> None:
    keeping = up(tmp_path, role)
    await keeping.take(manifest=MANIFEST)
    assert (keeping.standing.membership.trust.device_ca is None) is (role is Role.NODE)


async def test_expired_manifest_leaves_its_version_and_the_deny_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await up(tmp_path).take(manifest=MANIFEST, deny_list=REVOKED)

    def expired(*_args: object, **_rest: object) -> None:
        raise ManifestError("a trust manifest expired")

    with monkeypatch.context() as patch:
        patch.setattr(module, "verify_manifest", expired)
        keeping = up(tmp_path)
    assert (keeping.manifest_version, keeping.deny_order) == (3, (1, 2))
    assert "going by the grant" in caplog.text
    with pytest.raises(ManifestError, match="3 is in use"):
        await keeping.take(manifest=HELM.manifest(2))


# -- renewal


async def test_renewal_exchanges_key_and_certificate_in_one_write(tmp_path: Path) -> None:
    keeping = up(tmp_path)
    before, shown = keeping.standing.membership, keeping.standing.context(CONTROL)
    csr = await keeping.renew()
    assert keeping.standing.membership == before, "asking changes nothing"
    certificate = HELM.renewed(csr, before.identity)
    fingerprint = await keeping.install(certificate)
    for held in (keeping, up(tmp_path)):
        after = held.standing.membership
        assert after.fingerprint == fingerprint != before.fingerprint
        assert after.credentials.certificate.public_key() == after.credentials.key.public_key()
        assert after.credentials.key.public_key() != before.credentials.key.public_key()
    assert keeping.standing.context(CONTROL) is not shown
    # helm did not get the answer and says it again.
    assert await keeping.install(certificate) == fingerprint


async def test_asking_twice_asks_for_one_key_also_over_a_restart(tmp_path: Path) -> None:
    first, second = await up(tmp_path).renew(), await up(tmp_path).renew()
    keeping = up(tmp_path)
    await keeping.install(HELM.renewed(first, keeping.standing.membership.identity))
    with pytest.raises(AgentError, match="not asked"):
        await keeping.install(HELM.renewed(second, keeping.standing.membership.identity))
    assert await keeping.renew() != second


async def test_certificate_that_is_not_for_us_is_refused(tmp_path: Path) -> None:
    keeping = up(tmp_path)
    identity = keeping.standing.membership.identity
    with pytest.raises(AgentError, match="not asked"):
        await keeping.install(certificate_to_der(HOME.member(Role.NODE).certificate))
    csr, before = await keeping.renew(), (tmp_path / "identity.json").read_bytes()
    for wrong in (
        certificate_to_der(HOME.member(Role.NODE).certificate),
        HELM.renewed(csr, attrs.evolve(identity, id="two")),
        HELM.renewed(csr, attrs.evolve(identity, role=Role.RELAY)),
        HELM.renewed(csr, identity, fleet=HOME.rotated(Authority.FLEET)),
        b"junk",
    ):
        with pytest.raises(PeerRejectedError):
            await keeping.install(wrong)
    assert (tmp_path / "identity.json").read_bytes() == before


async def test_renewed_by_the_successor_it_comes_up_without_the_old_authority(tmp_path: Path) -> None:
    keeping, rotated = up(tmp_path), HOME.rotated(Authority.FLEET)
    identity = keeping.standing.membership.identity
    await keeping.take(manifest=HELM.manifest(4, trust=believing_both(HOME, rotated)))
    await keeping.install(HELM.renewed(await keeping.renew(), identity, fleet=rotated))
    await keeping.take(manifest=HELM.manifest(5, trust=rotated.trust))
    assert up(tmp_path).standing.membership.trust.fleet_ca == rotated.trust.fleet_ca
    # The file of the keys explains itself: `buoy status` reads no other.
    assert AgentKeys(tmp_path, Role.NODE).membership(now=utc_now()).identity == identity

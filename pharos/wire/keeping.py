"""What a node or relay keeps of its fleet's trust, in one private file: manifest, deny list, checkpoint, clock floor.

Nothing in it ever goes down, and nothing is in force before it is on disk: whoever is killed at any moment comes up
with the newest that it has acted by.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from pharos.wire.agent import AgentKeys, Membership
from pharos.wire.errors import DenyListError, ManifestError, RemoteProtocolError, WireError
from pharos.wire.kept import Kept, deny_list_of, load_kept, sound, trust_file
from pharos.wire.pki.clockfloor import TOLERANCE, ClockFloor
from pharos.wire.pki.manifest import Manifest, verify_manifest
from pharos.wire.seal.checkpoint import Comparison, compare, verify_checkpoint
from pharos.wire.seal.denylist import verify_deny_list
from pharos.wire.standing import Standing
from pharos.wire.world import in_thread, utc_now

log = logging.getLogger(__name__)

# A rotation leaves the old key until everything is signed anew; whoever rotates twice meanwhile has three.
MAX_SIGNING_KEYS: Final = 4

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Keeping:
    """Takes what helm sends into the file, and then into force."""

    def __init__(
        self,
        state: Path,
        keys: AgentKeys,
        membership: Membership,
        *,
        wall: Callable[[], datetime.datetime] = utc_now,
    ) -> None:
        """Read what is kept.

        Raises: StateFileError — the file is damaged; the daemon must not start, or it would admit who was revoked.
        """
        self.standing: Final = Standing(membership, wall=wall)
        """What handshakes go by."""
        self._keys = keys
        self._file = trust_file(state)
        self._turn = trio.Lock()
        self._manifest: Manifest | None = None
        self._kept = Kept()
        self._load()

    @property
    def manifest_version(self) -> int:
        """Of the trust manifest in use; 0 for none."""
        return self._kept.manifest_version

    @property
    def manifest(self) -> bytes:
        """The trust manifest in use, as it was signed; empty for none."""
        return self._kept.manifest

    @property
    def deny_order(self) -> tuple[int, int]:
        """(epoch, version) of the deny list in force; zeros for none."""
        deny_list = self.standing.deny_list
        return (0, 0) if deny_list is None else deny_list.order

    @property
    def deny_list(self) -> bytes:
        """The deny list in force, as it was signed; empty for none."""
        return self._kept.deny_list

    @property
    def checkpoint(self) -> bytes:
        """The largest audit checkpoint, as it was signed; empty for none."""
        return self._kept.checkpoint

    async def take(self, *, manifest: bytes = b"", deny_list: bytes = b"", checkpoint: bytes = b"") -> bool:
        """Keep what is newer, put it in force in this order, and say whether anything has changed. Empty: unchanged.

        Raises: ManifestError, DenyListError, RemoteProtocolError — one is refused; what came before it is in force.
        """
        async with self._turn:
            before = self._kept
            # Between disk and force nobody may interrupt.
            with trio.CancelScope(shield=True):
                if manifest and manifest != self._kept.manifest:
                    await self._take_manifest(manifest)
                if deny_list and deny_list != self._kept.deny_list:
                    await self._take_deny_list(deny_list)
                if checkpoint and checkpoint != self._kept.checkpoint:
                    await self._take_checkpoint(checkpoint)
            return self._kept != before

    async def renew(self) -> bytes:
        """Return the CSR for a fresh TLS key; asking twice asks for one key."""
        async with self._turn:
            return await in_thread(self._keys.renew)

    async def install(self, certificate: bytes) -> bytes:
        """Take the DER certificate of the fresh key into use; return the fingerprint that new handshakes show.

        Raises: AgentError, PeerRejectedError — it is not for this machine's fresh key, or does not verify.
        """
        async with self._turn:
            standing = self.standing

            def install() -> Membership:
                return self._keys.install_renewed(certificate, trust=standing.membership.trust, now=standing.now())

            with trio.CancelScope(shield=True):
                membership = await in_thread(install)
                standing.become(membership)
        log.info("new certificate, ends %s", membership.credentials.certificate.not_valid_after_utc.isoformat())
        return membership.fingerprint

    async def _take_manifest(self, blob: bytes) -> None:
        manifest = self._verify_manifest(blob, self._kept.manifest_version)
        await self._keep(manifest=blob, manifest_version=manifest.version)
        self._believe(manifest)
        log.info("trust manifest %d is in use", manifest.version)

    async def _take_deny_list(self, blob: bytes) -> None:
        if self._manifest is None:
            raise DenyListError("a deny list came before a trust manifest to verify it by")
        keys = self._manifest.signing_keys
        fleet, in_use = self.standing.membership.trust.fleet, self.standing.deny_list
        deny_list = verify_deny_list(blob, fleet=fleet, signing_keys=keys, in_use=in_use)
        self._see(deny_list.issued)
        await self._keep(deny_list=blob, signing_keys=self._all_keys(keys))
        cut = self.standing.deny(deny_list)
        log.info("deny list %d.%d is in force: %d entries", *deny_list.order, len(deny_list.entries))
        for identity in cut:
            log.warning("%s was revoked; its session was cut", identity.uri)

    async def _take_checkpoint(self, blob: bytes) -> None:
        if self._manifest is None:
            raise RemoteProtocolError("a checkpoint came before a trust manifest to verify it by")
        keys, fleet = self._manifest.signing_keys, self.standing.membership.trust.fleet
        new = verify_checkpoint(blob, fleet=fleet, signing_keys=keys)
        kept = None
        if self._kept.checkpoint:
            kept = verify_checkpoint(self._kept.checkpoint, fleet=fleet, signing_keys=self._all_keys(keys))
        match compare(kept, new):
            case Comparison.NEWER:
                self._see(new.at / 1_000_000)
                await self._keep(checkpoint=blob, signing_keys=self._all_keys(keys))
            case Comparison.CONFLICT:
                # The one that was kept goes on being reported, where helm's own audit does not know it.
                log.warning("helm signed two audits with %d rows: its record was forked; the first is kept", new.size)
            case Comparison.OLDER:
                pass

    async def _keep(self, **changes: Any) -> None:
        kept = attrs.evolve(self._kept, floor=int(self.standing.floor.floor.timestamp()), **changes)
        await in_thread(self._file.save, kept.as_json())
        self._kept = kept
        self.standing.floor.was_kept()

    def _all_keys(self, keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return ``keys`` and those of what is kept besides: few, for a rotation adds one."""
        return tuple(dict.fromkeys((*keys, *self._kept.signing_keys)))[:MAX_SIGNING_KEYS]

    def _see(self, signed: float) -> None:
        """Raise the clock floor; but a time that would end our own certificate says more of helm's clock than of time.

        The floor is kept, so that such a one would shut us out of the fleet for good. ``signed`` is in seconds since
        1970, and may be any number.
        """
        end = self.standing.membership.credentials.certificate.not_valid_after_utc + TOLERANCE
        if signed <= end.timestamp():
            self.standing.floor.see_signature(_EPOCH + datetime.timedelta(seconds=signed))

    def _verify_manifest(self, blob: bytes, minimum: int) -> Manifest:
        standing = self.standing
        root_hash = standing.membership.root_hash
        return verify_manifest(blob, root_hash=root_hash, now=standing.now(), minimum_version=max(minimum, 1))

    def _believe(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.standing.believe(manifest.trust)

    def _load(self) -> None:
        with sound(self._file):
            self._apply(load_kept(self._file))
        self.standing.floor.see_certificate(self.standing.membership.credentials.certificate)
        self._take_granted()

    def _apply(self, kept: Kept) -> None:
        self._kept = kept
        self.standing.floor = ClockFloor(_EPOCH + datetime.timedelta(seconds=kept.floor))
        deny_list = deny_list_of(kept, self.standing.membership.trust.fleet)
        if deny_list is not None:
            self.standing.deny(deny_list)
        if kept.manifest:
            try:
                self._believe(self._verify_manifest(kept.manifest, kept.manifest_version))
            except ManifestError as error:
                # It was good when it was taken, so it has expired since. The grant may still do.
                log.warning("%s; going by the grant", error)

    def _take_granted(self) -> None:
        """Take the manifest of the grant, if it is newer: the first one, or that of a machine that was readopted."""
        blob = self._keys.granted_manifest
        if blob is None or blob == self._kept.manifest:
            return
        try:
            manifest = self._verify_manifest(blob, self._kept.manifest_version + 1)
        except WireError as error:
            log.debug("the manifest of the grant is not taken: %s", error)
            return
        kept = attrs.evolve(self._kept, manifest=blob, manifest_version=manifest.version)
        self._file.save(kept.as_json())
        self._kept = kept
        self._believe(manifest)

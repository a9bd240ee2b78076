"""Who is no longer welcome although their certificate still verifies.

helm keeps one list for the fleet; every change makes its successor. A list is signed by the fleet (seal/denylist.py),
replaced as a whole, never edited, and only ever by a newer one.
"""

import datetime
import hashlib
import itertools
from collections.abc import Iterable
from typing import Final, Protocol, Self

import attrs

from pharos.wire.errors import LocalProtocolError
from pharos.wire.ids import FleetId
from pharos.wire.pki.profile import as_utc
from pharos.wire.pki.roles import Identity, Role

# An entry takes at most 233 bytes of JSON (longest id and role), so 4,096 take 929 KiB, and fit a gRPC message of
# 1 MiB. They are a third of the devices of a fleet of 10,000, revoked within a year; who revokes more, rotates the
# authority instead.
MAX_ENTRIES: Final = 4096

# A day more than the certificate could be shown: clocks differ, and a denied member is not to come back by one.
KEPT_AFTER_END: Final = datetime.timedelta(days=1)

# SQLite and protobuf hold such numbers as 64-bit integers with a sign.
_LARGEST: Final = 2**63 - 1


class DenyCheck(Protocol):
    """Asked last on every handshake, when the certificate has proven who the peer is."""

    def denies(self, identity: Identity, spki_hash: bytes) -> bool:
        """True if this member, or this key (SHA-256 of its SubjectPublicKeyInfo) wherever it turns up, is out."""
        ...


def tunnel_key_hash(public_key: bytes) -> bytes:
    """Return what a deny list calls an AmneziaWG public key: it tells nobody which keys were the fleet's."""
    return hashlib.sha256(public_key).digest()


def _is_hash(_instance: object, attribute: "attrs.Attribute[bytes | None]", value: bytes | None) -> None:
    if value is not None and len(value) != hashlib.sha256().digest_size:
        raise ValueError(f"{attribute.name} is no SHA-256 hash")


def _is_count(_instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError(f"{attribute.name} is not a count")


@attrs.frozen(kw_only=True)
class DenyEntry:
    """One revocation: of a member with all its keys, or of keys alone.

    Raises: ValueError — it denies nothing, or a value is not of its form.
    """

    member: Identity | None = None
    """Denied with every key that it ever had; None where its keys were lost and it goes on with others."""
    spki_hash: bytes | None = attrs.field(default=None, validator=_is_hash)
    """SHA-256 of a certificate's SubjectPublicKeyInfo: denied, whoever presents it."""
    tunnel_key_hash: bytes | None = attrs.field(default=None, validator=_is_hash)
    """`tunnel_key_hash` of an AmneziaWG key: no peer, even if pushed."""
    not_after: int = attrs.field(validator=_is_count)
    """When the last certificate that it is about ends, in seconds since 1970."""

    def __attrs_post_init__(self) -> None:
        if self.member is None and self.spki_hash is None and self.tunnel_key_hash is None:
            raise ValueError("an entry of a deny list has to deny something")

    @property
    def target(self) -> tuple[str, bytes, bytes]:
        """What it denies, to order entries by."""
        uri = "" if self.member is None else self.member.uri
        return uri, self.spki_hash or b"", self.tunnel_key_hash or b""

    def outlived(self, now: datetime.datetime) -> bool:
        """True if nothing that it denies could be shown any more."""
        return as_utc(now).timestamp() > self.not_after + KEPT_AFTER_END.total_seconds()


@attrs.frozen(kw_only=True)
class DenyList:
    """One fleet's revocations. Each question is answered by one look into a set, however long the list.

    Raises: ValueError — an entry of another fleet, entries doubled or out of order, too many of them, or a number that
    is none.
    """

    fleet: FleetId
    epoch: int = attrs.field(validator=_is_count)
    """Grows when helm is restored from a backup, so that its new lists beat those of the time after the backup."""
    version: int = attrs.field(validator=_is_count)
    """Grows with each change within an epoch."""
    issued: int = attrs.field(validator=_is_count)
    """Seconds since 1970, of helm's clock."""
    entries: tuple[DenyEntry, ...] = ()
    """By `target`, none twice."""
    _members: frozenset[Identity] = attrs.field(init=False, repr=False, eq=False)
    _spki_hashes: frozenset[bytes] = attrs.field(init=False, repr=False, eq=False)
    _tunnel_key_hashes: frozenset[bytes] = attrs.field(init=False, repr=False, eq=False)

    @_members.default
    def _collect_members(self) -> frozenset[Identity]:
        return frozenset(entry.member for entry in self.entries if entry.member is not None)

    @_spki_hashes.default
    def _collect_spki_hashes(self) -> frozenset[bytes]:
        return frozenset(entry.spki_hash for entry in self.entries if entry.spki_hash is not None)

    @_tunnel_key_hashes.default
    def _collect_tunnel_key_hashes(self) -> frozenset[bytes]:
        return frozenset(entry.tunnel_key_hash for entry in self.entries if entry.tunnel_key_hash is not None)

    def __attrs_post_init__(self) -> None:
        targets = [entry.target for entry in self.entries]
        if len(targets) > MAX_ENTRIES:
            raise ValueError(f"{len(targets)} entries are over the limit of {MAX_ENTRIES}")
        if any(former >= latter for former, latter in itertools.pairwise(targets)):
            raise ValueError("its entries are doubled or out of order")
        if any(member.fleet != self.fleet for member in self._members):
            raise ValueError("it names a member of another fleet")

    @property
    def order(self) -> tuple[int, int]:
        """(epoch, version): of two lists the one with the larger is newer."""
        return self.epoch, self.version

    def newer_than(self, other: Self) -> bool:
        """True if this list replaces `other`, which is never so the other way round as well."""
        return self.order > other.order

    def denies(self, identity: Identity, spki_hash: bytes) -> bool:
        """See `DenyCheck.denies`."""
        return identity in self._members or spki_hash in self._spki_hashes

    def denies_member(self, role: Role, member: str) -> bool:
        """True if this member of the fleet is not to be dialled, whatever it would present."""
        return Identity(fleet=self.fleet, role=role, id=member) in self._members

    def denies_tunnel_key(self, public_key: bytes) -> bool:
        """True if no peer with this AmneziaWG public key (32 bytes) is to be served or dialled."""
        return tunnel_key_hash(public_key) in self._tunnel_key_hashes

    def amended(self, entries: Iterable[DenyEntry], *, now: datetime.datetime) -> Self:
        """Return the next version, with these entries and without those that are outlived.

        Raises: LocalProtocolError — there are too many.
        """
        return self._successor((*self.entries, *entries), self.epoch, self.version + 1, now)

    def merged(self, others: Iterable[Self], *, epoch: int, now: datetime.datetime) -> Self:
        """Return the list of a helm that was restored: the union of its own with those that members still hold.

        Nobody is forgotten who was revoked after the backup was made (security.md §2h). It is newer than all of them.

        Raises: LocalProtocolError — `epoch` is lower than one of theirs, a list is another fleet's, or there are too
        many entries.
        """
        lists = (self, *others)
        if any(deny.epoch > epoch or deny.fleet != self.fleet for deny in lists):
            raise LocalProtocolError("merged deny lists are of one fleet, and of no later epoch than the new one")
        entries = [entry for deny in lists for entry in deny.entries]
        return self._successor(entries, epoch, max(deny.version for deny in lists) + 1, now)

    def _successor(self, entries: Iterable[DenyEntry], epoch: int, version: int, now: datetime.datetime) -> Self:
        kept: dict[tuple[str, bytes, bytes], DenyEntry] = {}
        for entry in entries:
            if entry.outlived(now):
                continue
            known = kept.get(entry.target)
            if known is None or known.not_after < entry.not_after:
                kept[entry.target] = entry
        try:
            return attrs.evolve(
                self,
                epoch=epoch,
                version=version,
                issued=int(as_utc(now).timestamp()),
                entries=tuple(kept[target] for target in sorted(kept)),
            )
        except ValueError as error:
            raise LocalProtocolError(f"the deny list cannot be so: {error}; rotate the authority instead") from error

"""``.pharos`` files: an invitation, a whole device, or links and configurations, closed or not."""

from __future__ import annotations

import functools
from pathlib import Path

import attrs

from pharos.caravel.enrolment import keep as keep_claim
from pharos.caravel.errors import SourceError
from pharos.caravel.profiles.confs import KeptConf
from pharos.caravel.profiles.links import KeptLink
from pharos.caravel.profiles.store import DeviceSecrets, Enrolled, ProfileStore
from pharos.caravel.sources.base import Choices, Preview, Source, SourceKind, Taken
from pharos.caravel.sources.conf import describe, read_conf, warnings_of
from pharos.caravel.sources.joining import check_managed, store_to_join
from pharos.caravel.sources.keeping import keep
from pharos.caravel.sources.ticket import TicketSource
from pharos.wire.awg.conf import render
from pharos.wire.errors import BundleFormatError, LinkFormatError, ParameterError
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import FLEET_ID_LENGTH, FleetId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.reality.options import DialOptions, parse_version, render_version
from pharos.wire.reality.sharelink import ShareLink
from pharos.wire.seal.filecontent import (
    Collection,
    Content,
    FileConf,
    FileDevice,
    FileLink,
    decode_content,
)
from pharos.wire.seal.pharosfile import Closure, open_file, read_file_header
from pharos.wire.seal.ticket import TicketLink
from pharos.wire.seal.words import fleet_words
from pharos.wire.world import in_thread

OPEN_WARNING = "This file is closed to nobody: whoever else has seen it has what is in it."


@attrs.frozen(kw_only=True)
class DeviceSource:
    """A whole device, which comes from another machine."""

    device: FileDevice
    warnings: tuple[str, ...] = ()

    @property
    def kind(self) -> SourceKind:
        return SourceKind.DEVICE

    @property
    def fleet(self) -> FleetId:
        return FleetId(self.device.root_hash.hex()[:FLEET_ID_LENGTH])

    def preview(self) -> Preview:
        return Preview(
            kind=self.kind,
            title=f"the device {self.device.id} of a fleet, with its keys",
            fleet=self.fleet,
            words=fleet_words(self.device.root_hash),
            does="This machine would become that device. Nothing is connected by that.",
            warnings=(
                "Two machines that are one device disturb each other: use one of them, and forget it on the other.",
                *self.warnings,
            ),
        )

    async def take(self, path: Path, choices: Choices) -> Taken:
        check_managed(choices, self.kind)
        store = store_to_join(path, self.fleet, choices)
        return Taken(kind=self.kind, enrolled=_adopt(store, self.device, self.fleet))


@attrs.frozen(kw_only=True)
class CollectionSource:
    """Links and configurations of another device's."""

    links: tuple[KeptLink, ...]
    confs: tuple[KeptConf, ...]
    warnings: tuple[str, ...] = ()

    @property
    def kind(self) -> SourceKind:
        return SourceKind.COLLECTION

    def preview(self) -> Preview:
        shown = [f"{one.name}  {one.link.address} as {one.link.server_name}" for one in self.links]
        shown += [describe(one.name, one.conf) for one in self.confs]
        return Preview(
            kind=self.kind,
            title=f"{len(shown)} links and configurations",
            items=tuple(shown),
            does="They would be kept under these names. Nothing is connected by that, and no fleet is joined.",
            warnings=(*(line for one in self.confs for line in warnings_of(one.conf)), *self.warnings),
        )

    async def take(self, path: Path, choices: Choices) -> Taken:
        check_managed(choices, self.kind)
        links, confs = self.links, self.confs
        if choices.name is not None:
            if len(links) + len(confs) > 1:
                raise SourceError("a name is for one of them, and there are several")
            links = tuple(attrs.evolve(one, name=choices.name) for one in links)
            confs = tuple(attrs.evolve(one, name=choices.name) for one in confs)
        if choices.options is not None:
            links = tuple(attrs.evolve(one, options=choices.options) for one in links)
        keep(path, choices, links=links, confs=confs)
        return Taken(kind=self.kind, links=links, confs=confs)


@attrs.frozen(kw_only=True)
class SealedSource:
    """A file that has to be opened first, with a passphrase or by the device it is for."""

    data: bytes = attrs.field(repr=False)
    closure: Closure

    @property
    def kind(self) -> SourceKind:
        return SourceKind.SEALED

    def preview(self) -> Preview:
        by = "with a passphrase" if self.closure is Closure.PASSWORD else "for one device"
        return Preview(
            kind=self.kind,
            title=f"a file that is closed {by}",
            does="It has to be opened before anybody knows what it would do.",
            secret=False,
        )

    async def take(self, path: Path, choices: Choices) -> Taken:
        raise SourceError("this file is closed; open it first, and look at what is in it")

    def open(self, *, passphrase: str | None = None, sealing_key: KeyPair | None = None) -> Source:
        """Return what is in it. Blocks for as long as a passphrase costs.

        Raises: BundlePassphraseError, BundleNotForUsError, BundleSignatureError, BundleFormatError.
        """
        content = open_file(self.data, passphrase=passphrase, sealing_key=sealing_key)
        return _source_of(decode_content(content))

    async def open_in_thread(self, *, passphrase: str | None = None, sealing_key: KeyPair | None = None) -> Source:
        """As `open`, for programs whose loop must not wait."""
        act = functools.partial(self.open, passphrase=passphrase, sealing_key=sealing_key)
        return await in_thread(act)


def read_pharos_file(data: bytes) -> Source:
    """Read a file; one that is closed is returned unopened.

    Raises: BundleError — it is damaged, or of another version.
    """
    closure = read_file_header(data).closure
    if closure is not Closure.NONE:
        return SealedSource(data=data, closure=closure)
    return _source_of(decode_content(open_file(data)), OPEN_WARNING)


def content_of_device(store: ProfileStore) -> FileDevice:
    """Return this machine's device for a file.

    Raises: NotEnrolledError, LockedStoreError.
    """
    enrolled, kept = store.enrolled(), store.bundle()
    if kept is None:
        raise BundleFormatError("this device has no profile yet; sync first: caravel profiles")
    own = enrolled.secrets
    return FileDevice(
        id=enrolled.device_id,
        tls=own.tls,
        sealing=own.sealing,
        derive=own.derive,
        noise=own.noise,
        awg=own.awg,
        certificate=enrolled.certificate,
        manifest=enrolled.manifest,
        root_hash=enrolled.root_hash,
        beacons=enrolled.beacons,
        bundle=kept[1],
    )


def content_of_kept(links: tuple[KeptLink, ...], confs: tuple[KeptConf, ...]) -> Collection:
    """Return links and configurations for a file."""
    return Collection(
        links=tuple(
            FileLink(
                name=one.name,
                link=one.link.render(),
                post_quantum=one.options.post_quantum,
                version=render_version(one.options.version),
            )
            for one in links
        ),
        confs=tuple(FileConf(name=one.name, conf=render(one.conf)) for one in confs),
    )


def _source_of(content: Content, *warnings: str) -> Source:
    if isinstance(content, TicketLink):
        return TicketSource(content)
    if isinstance(content, FileDevice):
        return DeviceSource(device=content, warnings=warnings)
    try:
        links = tuple(
            KeptLink(
                name=one.name,
                link=ShareLink.parse(one.link),
                options=DialOptions(post_quantum=one.post_quantum, version=parse_version(one.version)),
            )
            for one in content.links
        )
        confs = tuple(KeptConf(name=one.name, conf=read_conf(one.conf).conf) for one in content.confs)
    except (LinkFormatError, ParameterError, SourceError) as error:
        raise BundleFormatError(f"what is in the .pharos file cannot be taken: {error}") from None
    return CollectionSource(links=links, confs=confs, warnings=warnings)


def _adopt(store: ProfileStore, device: FileDevice, fleet: FleetId) -> Enrolled:
    """Become a device, once everything of it has been checked against its fleet's root, as after an enrolment."""
    secrets = DeviceSecrets(
        tls=device.tls, sealing=device.sealing, derive=device.derive, noise=device.noise, awg=device.awg
    )
    reply = pb.ClaimReply(
        device_id=device.id, certificate=device.certificate, manifest=device.manifest, bundle=device.bundle
    )
    try:
        return keep_claim(store, reply, secrets, root_hash=device.root_hash, beacons=device.beacons)
    except (ValueError, TypeError) as error:
        raise BundleFormatError("the device in the .pharos file is damaged; ask for it again") from error

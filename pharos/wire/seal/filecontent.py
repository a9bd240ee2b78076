"""What may stand in a ``.pharos`` file: an invitation, a whole device, or links and configurations. A closed schema.

    {"v": 1, "ticket": "pharosvpn://enroll?…"}
    {"v": 1, "device": {"id", "tls", "sealing", "derive", "noise", "awg", "certificate", "manifest", "root",
                        "beacons", "bundle"}}
    {"v": 1, "links": [{"name", "link", "post_quantum", "version"}], "confs": [{"name", "conf"}]}

Binary values are base64. Whatever else stands in it, or is spelt otherwise than we would, makes it no content: a newer
version has another number.
"""

from __future__ import annotations

import base64
from typing import Any, Final, TypeAlias

import attrs

from pharos.wire.errors import BundleFormatError, LinkFormatError, LocalProtocolError
from pharos.wire.ids import DeviceId, check_label
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.seal.ticket import MAX_BEACONS, BeaconAddress, TicketLink

VERSION: Final = 1
MAX_ENTRIES: Final = 1000
"""Links and configurations, as many as a device keeps."""
MAX_NAME: Final = 64
_PAIRS: Final = ("sealing", "derive", "noise", "awg")


@attrs.frozen(kw_only=True)
class FileDevice:
    """A whole device of a fleet: its keys, its certificate, and the newest profile that it held."""

    id: DeviceId
    tls: bytes = attrs.field(repr=False)
    """PKCS #8, P-256."""
    sealing: KeyPair
    derive: KeyPair
    noise: KeyPair
    awg: KeyPair
    certificate: bytes = attrs.field(repr=False)
    """DER."""
    manifest: bytes = attrs.field(repr=False)
    root_hash: bytes
    """SHA-256 of the root's SubjectPublicKeyInfo: whoever opens the file checks everything else against it."""
    beacons: tuple[BeaconAddress, ...]
    bundle: bytes = attrs.field(repr=False)
    """Sealed for the device itself."""


@attrs.frozen(kw_only=True)
class FileLink:
    """A share link; it is read by who knows its protocol."""

    name: str
    link: str = attrs.field(repr=False)
    post_quantum: bool
    version: str
    """What the node is told of the client."""


@attrs.frozen(kw_only=True)
class FileConf:
    """A tunnel's configuration, as `awg-quick` has it; it is read by who knows its format."""

    name: str
    conf: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Collection:
    """What one device keeps and another shall keep as well."""

    links: tuple[FileLink, ...] = ()
    confs: tuple[FileConf, ...] = ()


Content: TypeAlias = TicketLink | FileDevice | Collection


def encode_content(content: Content) -> bytes:
    """Return a content in its one spelling. Raises: LocalProtocolError — there is nothing in it, or too much."""
    body: dict[str, object] = {"v": VERSION}
    if isinstance(content, TicketLink):
        body["ticket"] = content.render()
    elif isinstance(content, FileDevice):
        body["device"] = _device_to(content)
    else:
        body["links"] = [attrs.asdict(link) for link in content.links]
        body["confs"] = [attrs.asdict(conf) for conf in content.confs]
        if not 0 < len(content.links) + len(content.confs) <= MAX_ENTRIES:
            raise LocalProtocolError(f"a .pharos file has 1 to {MAX_ENTRIES} links and configurations")
    return encode_canonical(body)


def decode_content(data: bytes) -> Content:
    """Read a content. Raises: BundleFormatError — it is none of this version; the error quotes nothing of it."""
    try:
        content = _content_from(decode_canonical(data))
        if encode_content(content) == data:
            return content
    except (KeyError, TypeError, ValueError, OverflowError, LinkFormatError, LocalProtocolError):
        pass
    raise BundleFormatError("what is in the .pharos file is not understood; upgrade caravel, or ask for it again")


def _content_from(body: dict[str, Any]) -> Content:
    if "ticket" in body:
        return TicketLink.parse(_text(body["ticket"]))
    if "device" in body:
        return _device_from(body["device"])
    return Collection(links=tuple(map(_link_from, body["links"])), confs=tuple(map(_conf_from, body["confs"])))


def _link_from(body: dict[str, Any]) -> FileLink:
    post_quantum = body["post_quantum"]
    if not isinstance(post_quantum, bool):
        raise TypeError
    return FileLink(
        name=_name(body["name"]),
        link=_text(body["link"]),
        post_quantum=post_quantum,
        version=_text(body["version"]),
    )


def _conf_from(body: dict[str, Any]) -> FileConf:
    return FileConf(name=_name(body["name"]), conf=_text(body["conf"]))


def _device_to(device: FileDevice) -> dict[str, object]:
    return {
        "id": device.id,
        "tls": _encode(device.tls),
        **{name: _encode(getattr(device, name).private_bytes()) for name in _PAIRS},
        "certificate": _encode(device.certificate),
        "manifest": _encode(device.manifest),
        "root": _encode(device.root_hash),
        "beacons": [str(beacon) for beacon in device.beacons],
        "bundle": _encode(device.bundle),
    }


def _device_from(body: dict[str, Any]) -> FileDevice:
    beacons, root_hash = body["beacons"], _decode(body["root"])
    if not isinstance(beacons, list) or not 0 < len(beacons) <= MAX_BEACONS or len(root_hash) != 32:
        raise ValueError
    return FileDevice(
        id=DeviceId(check_label(_text(body["id"]))),
        tls=_decode(body["tls"]),
        certificate=_decode(body["certificate"]),
        manifest=_decode(body["manifest"]),
        root_hash=root_hash,
        beacons=tuple(BeaconAddress.parse(_text(beacon)) for beacon in beacons),
        bundle=_decode(body["bundle"]),
        **{name: _key_pair(body[name]) for name in _PAIRS},
    )


def _key_pair(value: object) -> KeyPair:
    raw = _decode(value)
    if len(raw) != 32:
        raise ValueError
    return KeyPair.from_private_bytes(raw)


def _name(value: object) -> str:
    name = _text(value)
    if not (0 < len(name) <= MAX_NAME and name.isprintable()):
        raise ValueError
    return name


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(value: object) -> bytes:
    return base64.b64decode(_text(value), validate=True)

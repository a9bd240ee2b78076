"""The deny list on its way: signed by the fleet, taken only if it is not older than the one in use.

0x01 ‖ signature (64) ‖ canonical JSON: fleet, epoch, version, issued, entries

entry      {"awg":…,"id":…,"kind":…,"not_after":…,"spki":…}; kind is the member's role, or "key" where keys alone are
           denied and id is null; the hashes are base64, or null
signature  Ed25519(`pharos/denylist/v1` ‖ u32 length of the JSON ‖ the JSON) with the fleet signing key
"""

import base64
from collections.abc import Collection
from typing import Final

from nacl.signing import SigningKey

from pharos.wire.errors import BundleSignatureError, DenyListError
from pharos.wire.ids import FleetId
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.pki.denylist import DenyEntry, DenyList
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.seal.signature import verify_signature
from pharos.wire.units import KIB

FORMAT: Final = b"\x01"
# What the largest list takes (pki/denylist.py), and room for the rest of its message within 1 MiB.
MAX_DENY_LIST: Final = 960 * KIB

_CONTEXT: Final = b"pharos/denylist/v1"
_SIGNATURE: Final = 64
_KEY: Final = "key"


def sign_deny_list(deny_list: DenyList, *, signing_key: SigningKey) -> bytes:
    """Return the list as it travels and is kept."""
    payload = _encode(deny_list)
    return FORMAT + signing_key.sign(_signed(payload)).signature + payload


def verify_deny_list(
    blob: bytes, *, fleet: FleetId, signing_keys: Collection[bytes], in_use: DenyList | None = None
) -> DenyList:
    """Return the list in `blob`, which may then be stored durably and take the place of the one in use.

    `signing_keys` are the fleet's raw Ed25519 public keys by the manifest. The list that is in use is taken again.

    Raises: DenyListError — it is malformed, not signed by one of the keys, another fleet's, or not newer than `in_use`.
    """
    if len(blob) > MAX_DENY_LIST:
        raise DenyListError(f"a deny list of {len(blob)} bytes is over the limit of {MAX_DENY_LIST}")
    if not blob.startswith(FORMAT):
        raise DenyListError("a deny list has an unknown format; a newer version may know it")
    signature, payload = blob[1 : 1 + _SIGNATURE], blob[1 + _SIGNATURE :]
    try:
        verify_signature(signature, _signed(payload), signing_keys)
        deny_list = _decode(payload)
    except (BundleSignatureError, KeyError, TypeError, ValueError) as error:
        raise DenyListError(f"a deny list is refused: {error}") from error
    if deny_list.fleet != fleet:
        raise DenyListError(f"a deny list is of fleet {deny_list.fleet}, not {fleet}")
    if in_use is not None and deny_list != in_use and not deny_list.newer_than(in_use):
        raise DenyListError(f"a deny list is {deny_list.order}, and {in_use.order} is in use")
    return deny_list


def _encode(deny_list: DenyList) -> bytes:
    return encode_canonical(
        {
            "fleet": deny_list.fleet,
            "epoch": deny_list.epoch,
            "version": deny_list.version,
            "issued": deny_list.issued,
            "entries": [_encode_entry(entry) for entry in deny_list.entries],
        }
    )


def _decode(payload: bytes) -> DenyList:
    """Raises: KeyError, TypeError, ValueError — it is no list of this version, or not in its one spelling."""
    content = decode_canonical(payload)
    fleet, entries = FleetId(_text(content["fleet"])), content["entries"]
    if not isinstance(entries, list):
        raise TypeError("its entries are no list")
    deny_list = DenyList(
        fleet=fleet,
        epoch=_number(content["epoch"]),
        version=_number(content["version"]),
        issued=_number(content["issued"]),
        entries=tuple(_decode_entry(entry, fleet) for entry in entries),
    )
    # The absence of anything else, and the one spelling of each hash.
    if _encode(deny_list) != payload:
        raise ValueError("it has other members than a deny list of version 1")
    return deny_list


def _encode_entry(entry: DenyEntry) -> dict[str, object]:
    return {
        "kind": _KEY if entry.member is None else entry.member.role.value,
        "id": None if entry.member is None else entry.member.id,
        "spki": _encode_hash(entry.spki_hash),
        "awg": _encode_hash(entry.tunnel_key_hash),
        "not_after": entry.not_after,
    }


def _decode_entry(content: object, fleet: FleetId) -> DenyEntry:
    if not isinstance(content, dict):
        raise TypeError("an entry of it is no object")
    kind, member = content["kind"], content["id"]
    return DenyEntry(
        member=None if kind == _KEY else Identity(fleet=fleet, role=Role(kind), id=_text(member)),
        spki_hash=_decode_hash(content["spki"]),
        tunnel_key_hash=_decode_hash(content["awg"]),
        not_after=_number(content["not_after"]),
    )


def _encode_hash(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _decode_hash(value: object) -> bytes | None:
    return None if value is None else base64.b64decode(_text(value), validate=True)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a number")
    return value


def _signed(payload: bytes) -> bytes:
    return _CONTEXT + len(payload).to_bytes(4, "big") + payload

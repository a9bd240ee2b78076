import base64
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from pharos.wire.errors import DenyListError
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.pki.denylist import MAX_ENTRIES, DenyEntry, DenyList
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.seal.denylist import MAX_DENY_LIST, sign_deny_list, verify_deny_list
from tests.support.pki import home_fleet, other_fleet

HOME = home_fleet()
KEY, NEXT_KEY = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
ENTRY = DenyEntry(
    member=HOME.identity(Role.DEVICE, "lost"), spki_hash=b"\1" * 32, tunnel_key_hash=b"\2" * 32, not_after=2_000_000_000
)
KEY_ENTRY = DenyEntry(spki_hash=b"\3" * 32, not_after=2_000_000_001)
LIST = DenyList(fleet=HOME.id, epoch=5, version=9, issued=1_900_000_000, entries=(KEY_ENTRY, ENTRY))
BLOB = sign_deny_list(LIST, signing_key=KEY)


def verify(blob: bytes, *, in_use: DenyList | None = None, keys: tuple[SigningKey, ...] = (KEY,)) -> DenyList:
    return verify_deny_list(blob, fleet=HOME.id, signing_keys=[bytes(key.verify_key) for key in keys], in_use=in_use)


def content() -> dict[str, object]:
    loaded: dict[str, object] = json.loads(BLOB[65:])
    return loaded


def sealed(payload: bytes, *, key: SigningKey = KEY, context: bytes = b"pharos/denylist/v1") -> bytes:
    """The format, written down a second time."""
    return b"\x01" + key.sign(context + len(payload).to_bytes(4, "big") + payload).signature + payload


def test_list_says_what_was_signed() -> None:
    assert verify(BLOB) == LIST
    assert verify(sign_deny_list(HOME.deny_list(), signing_key=KEY)) == HOME.deny_list()


def test_format_is_as_documented() -> None:
    expected = {
        "fleet": HOME.id,
        "epoch": 5,
        "version": 9,
        "issued": 1_900_000_000,
        "entries": [
            {
                "kind": "key",
                "id": None,
                "spki": base64.b64encode(b"\3" * 32).decode(),
                "awg": None,
                "not_after": 2_000_000_001,
            },
            {
                "kind": "device",
                "id": "lost",
                "spki": base64.b64encode(b"\1" * 32).decode(),
                "awg": base64.b64encode(b"\2" * 32).decode(),
                "not_after": 2_000_000_000,
            },
        ],
    }
    assert content() == expected
    assert sealed(encode_canonical(expected)) == BLOB


def test_either_key_of_a_rotation_signs() -> None:
    by_next = sign_deny_list(LIST, signing_key=NEXT_KEY)
    assert verify(by_next, keys=(KEY, NEXT_KEY)) == LIST
    for blob, keys in ((by_next, (KEY,)), (BLOB, (NEXT_KEY,)), (BLOB, ())):
        with pytest.raises(DenyListError, match="not signed"):
            verify(blob, keys=keys)


def test_signature_of_another_context_is_refused() -> None:
    payload = BLOB[65:]
    for context in (b"", b"pharos/bundle/v1", b"pharos/denylist/v2"):
        with pytest.raises(DenyListError, match="not signed"):
            verify(sealed(payload, context=context))


def test_older_list_and_another_of_the_same_order_are_refused() -> None:
    assert verify(BLOB, in_use=LIST) == LIST
    for older in (attrs.evolve(LIST, version=8), attrs.evolve(LIST, epoch=4, version=100)):
        assert verify(BLOB, in_use=older) == LIST
    for newer in (
        attrs.evolve(LIST, version=10),
        attrs.evolve(LIST, epoch=6, version=1),
        attrs.evolve(LIST, entries=(ENTRY,)),
    ):
        with pytest.raises(DenyListError, match="in use"):
            verify(BLOB, in_use=newer)


def test_list_of_another_fleet_is_refused() -> None:
    foreign = sign_deny_list(other_fleet().deny_list(), signing_key=KEY)
    with pytest.raises(DenyListError, match="of fleet"):
        verify(foreign)


def test_signed_nonsense_is_refused() -> None:
    entry: dict[str, object] = json.loads(BLOB[65:])["entries"][1]
    nonsense: list[dict[str, object]] = [
        {"epoch": -1},
        {"epoch": True},
        {"version": "9"},
        {"version": None},
        {"issued": 2**63},
        {"fleet": 7},
        {"fleet": "home"},
        {"entries": None},
        {"entries": {}},
        {"entries": [None]},
        {"entries": [entry, entry]},
        {"surprise": 1},
    ]
    odd_entries: list[dict[str, object]] = [
        {"kind": "boss"},
        {"kind": None},
        {"kind": "key"},
        {"id": "UPPER"},
        {"id": None},
        {"spki": "AAAA"},
        {"spki": base64.b64encode(bytes(32)).decode() + "\n"},
        {"spki": base64.b64encode(bytes(32)).decode()[:-2] + "B="},
        {"awg": 7},
        {"not_after": "soon"},
        {"surprise": 1},
    ]
    nonsense += [{"entries": [entry | odd]} for odd in odd_entries]
    nonsense += [{"entries": [{name: entry[name] for name in entry if name != missing}]} for missing in entry]
    for change in nonsense:
        with pytest.raises(DenyListError):
            pytest.fail(f"{change}: {verify(sealed(encode_canonical(content() | change)))}")
    for missing in content():
        said = content()
        del said[missing]
        with pytest.raises(DenyListError):
            pytest.fail(f"no {missing}: {verify(sealed(encode_canonical(said)))}")


def test_payload_has_one_spelling() -> None:
    with pytest.raises(DenyListError, match="canonical"):
        verify(sealed(json.dumps(content()).encode()))
    with pytest.raises(DenyListError):
        verify(sealed(b"[" * 100_000))


def test_unknown_format_is_refused() -> None:
    for first in (0, 2, 255):
        with pytest.raises(DenyListError, match="newer version"):
            verify(bytes([first]) + BLOB[1:])


def test_longest_list_fits_and_nothing_longer_is_read() -> None:
    entries = tuple(
        DenyEntry(
            member=Identity(fleet=HOME.id, role=Role.CONTROLLER, id=f"{number:0>63}"),
            spki_hash=bytes(32),
            tunnel_key_hash=bytes(32),
            not_after=2**63 - 1,
        )
        for number in range(MAX_ENTRIES)
    )
    longest = DenyList(fleet=HOME.id, epoch=2**63 - 1, version=2**63 - 1, issued=2**63 - 1, entries=entries)
    blob = sign_deny_list(longest, signing_key=KEY)
    assert len(blob) <= MAX_DENY_LIST
    assert verify(blob) == longest
    with pytest.raises(DenyListError, match="limit"):
        verify(BLOB + bytes(MAX_DENY_LIST))


@given(at=st.integers(0, len(BLOB) - 1), byte=st.integers(0, 255))
def test_no_changed_byte_is_believed(at: int, byte: int) -> None:
    damaged = BLOB[:at] + bytes([byte]) + BLOB[at + 1 :]
    if damaged == BLOB:
        return
    with pytest.raises(DenyListError):
        verify(damaged)


@given(
    junk=st.binary(max_size=200).map(lambda tail: b"\x01" + tail)
    | st.integers(0, len(BLOB) - 1).map(lambda n: BLOB[:n])
)
def test_junk_is_no_list(junk: bytes) -> None:
    with pytest.raises(DenyListError):
        verify(junk)

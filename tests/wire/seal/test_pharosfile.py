"""`.pharos` files open for whom they are meant, cost no more than they may, and say damage in one kind of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import (
    BundleError,
    BundleFormatError,
    BundleNotForUsError,
    BundlePassphraseError,
    BundleSignatureError,
    LocalProtocolError,
)
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.seal.filecontent import (
    Collection,
    Content,
    FileConf,
    FileDevice,
    FileLink,
    decode_content,
    encode_content,
)
from pharos.wire.seal.passphrase import KeyCost
from pharos.wire.seal.pharosfile import (
    MAGIC,
    MAX_FILE_OCTETS,
    MAX_FILE_PASSES,
    MAX_PHAROS_FILE,
    Closure,
    FileHeader,
    open_file,
    read_file_header,
    seal_file,
)
from tests.support.strategies import quick
from tests.wire.seal.test_ticket import TICKET

KEY = KeyPair.from_private_bytes(b"k" * 32)
OTHER = KeyPair.from_private_bytes(b"o" * 32)
CONTENT = encode_content(TICKET)
AT_HEADER = len(MAGIC) + 3


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases that cost next to nothing, for tests that open many."""
    monkeypatch.setattr(KeyCost, "fresh", classmethod(lambda cls, random: cls(salt=bytes(16), passes=1, octets=8192)))


def with_header(data: bytes, **changes: object) -> bytes:
    """Give a file another header, as somebody would who writes one by hand."""
    length = int.from_bytes(data[AT_HEADER - 2 : AT_HEADER], "big")
    body = json.loads(data[AT_HEADER : AT_HEADER + length])
    header = encode_canonical({**body, **changes})
    return MAGIC + b"\x01" + len(header).to_bytes(2, "big") + header + data[AT_HEADER + length :]


@pytest.mark.usefixtures("cheap")
class TestClosing:
    def test_a_file_opens_for_whom_it_was_closed(self) -> None:
        assert open_file(seal_file(CONTENT, made=1)) == CONTENT
        assert open_file(seal_file(CONTENT, made=1, passphrase="a ä"), passphrase="a ä") == CONTENT
        assert open_file(seal_file(CONTENT, made=1, recipient_key=KEY.public), sealing_key=KEY) == CONTENT

    def test_it_says_who_can_open_it_before_anything_is_computed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed = seal_file(CONTENT, made=7, passphrase="x")
        monkeypatch.setattr(KeyCost, "derive", None)
        header = read_file_header(closed)
        assert (header.closure, header.made) == (Closure.PASSWORD, 7)
        assert read_file_header(seal_file(CONTENT, made=7)).closure is Closure.NONE
        assert read_file_header(seal_file(CONTENT, made=7, recipient_key=KEY.public)).closure is Closure.DEVICE

    def test_another_passphrase_none_and_a_long_one_are_told_from_damage(self) -> None:
        data = seal_file(CONTENT, made=1, passphrase="right")
        for wrong in ("wrong", "", None, "x" * 2000):
            with pytest.raises(BundlePassphraseError):
                open_file(data, passphrase=wrong)

    def test_another_device_does_not_open_it(self) -> None:
        data = seal_file(CONTENT, made=1, recipient_key=KEY.public)
        for stranger in (OTHER, None):
            with pytest.raises(BundleNotForUsError):
                open_file(data, sealing_key=stranger)

    def test_its_length_tells_a_bucket_and_not_what_is_in_it(self) -> None:
        lengths = {len(seal_file(bytes(size), made=1, recipient_key=KEY.public)) for size in (0, 1, 100, 4000)}
        assert len(lengths) == 1

    def test_what_is_too_large_is_not_written(self) -> None:
        with pytest.raises(LocalProtocolError, match="too much"):
            seal_file(bytes(MAX_PHAROS_FILE), made=1)
        with pytest.raises(LocalProtocolError):
            seal_file(b"", made=1, passphrase="x", recipient_key=KEY.public)

    def test_a_key_never_opens_two_files(self) -> None:
        # The same content for the same device is another file each time.
        assert seal_file(CONTENT, made=1, recipient_key=KEY.public) != seal_file(
            CONTENT, made=1, recipient_key=KEY.public
        )


@pytest.mark.usefixtures("cheap")
class TestDamage:
    def test_each_octet_counts(self) -> None:
        data = seal_file(CONTENT, made=1, recipient_key=KEY.public)
        for at in [*range(400), *range(400, len(data), 97)]:
            broken = bytearray(data)
            broken[at] ^= 1
            with pytest.raises(BundleError):
                open_file(bytes(broken), sealing_key=KEY)

    def test_a_header_of_another_file_does_not_fit(self) -> None:
        for closed in ({"passphrase": "x"}, {"recipient_key": KEY.public}, {}):
            data = seal_file(CONTENT, made=1, **closed)  # type: ignore[arg-type]
            with pytest.raises((BundleSignatureError, BundlePassphraseError)):
                open_file(with_header(data, made=2), passphrase="x", sealing_key=KEY)

    def test_cut_short_or_made_longer_it_is_damaged(self) -> None:
        data = seal_file(CONTENT, made=1)
        for broken in (*(data[:at] for at in range(0, len(data), 61)), data + b"\0", data + bytes(4096), b""):
            with pytest.raises(BundleError):
                open_file(broken)

    def test_a_newer_version_says_to_upgrade(self) -> None:
        data = seal_file(CONTENT, made=1)
        with pytest.raises(BundleFormatError, match="upgrade"):
            open_file(MAGIC + b"\x02" + data[len(MAGIC) + 1 :])
        for changes in ({"v": 2}, {"alg": "rot13"}, {"more": 1}, {"enc": "usb"}, {"enc": None}, {"made": -1}):
            with pytest.raises(BundleFormatError, match="upgrade"):
                open_file(with_header(data, **changes))

    @quick
    @given(st.binary(max_size=600) | st.binary(max_size=600).map(lambda rest: MAGIC + b"\x01" + rest))
    def test_whatever_comes_is_refused_in_one_kind_of_error(self, data: bytes) -> None:
        with pytest.raises(BundleError) as caught:
            open_file(data, passphrase="x", sealing_key=KEY)
        assert str(caught.value).isprintable()


def test_what_a_stranger_writes_may_not_cost_more_than_a_file_may(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = KeyCost(salt=bytes(16), passes=1, octets=8192)
    monkeypatch.setattr(KeyCost, "fresh", classmethod(lambda cls, random: cost))
    data = seal_file(CONTENT, made=1, passphrase="x")

    def derive(cost: KeyCost, passphrase: str) -> bytes:
        raise AssertionError("it was run")

    monkeypatch.setattr(KeyCost, "derive", derive)
    for changes in (
        {"octets": MAX_FILE_OCTETS + 1},
        {"octets": 2**62},
        {"passes": MAX_FILE_PASSES + 1},
        {"passes": 0},
        {"octets": 1},
        {"passes": True},
        {"passes": 1.0},
        {"salt": ""},
        {"salt": "!!!!"},
    ):
        with pytest.raises(BundleFormatError):
            open_file(with_header(data, **changes), passphrase="x")
    with pytest.raises(AssertionError, match="it was run"):
        open_file(data, passphrase="x")


def device() -> FileDevice:
    return FileDevice(
        id=DeviceId("d1"),
        tls=b"tls",
        sealing=KEY,
        derive=KEY,
        noise=KEY,
        awg=KEY,
        certificate=b"certificate",
        manifest=b"manifest",
        root_hash=bytes(32),
        beacons=TICKET.beacons,
        bundle=b"bundle",
    )


COLLECTION = Collection(
    links=(FileLink(name="cafe", link="vless://x", post_quantum=False, version="26.3.27"),),
    confs=(FileConf(name="office", conf="[Interface]\n"),),
)


class TestContent:
    @pytest.mark.parametrize("content", [TICKET, device(), COLLECTION])
    def test_it_is_read_as_it_was_written(self, content: Content) -> None:
        found = decode_content(encode_content(content))
        if isinstance(content, FileDevice):
            assert isinstance(found, FileDevice)
            assert found.sealing.private_bytes() == KEY.private_bytes()
            assert attrs.evolve(found, **dict.fromkeys(("sealing", "derive", "noise", "awg"), KEY)) == content
        else:
            assert found == content

    def test_no_repr_has_a_secret_in_it(self) -> None:
        shown = repr(device()) + repr(COLLECTION) + repr(TICKET)
        assert "vless://" not in shown
        assert KEY.private_bytes().hex() not in shown
        assert repr(TICKET.secret) not in shown

    @pytest.mark.parametrize(
        "body",
        [
            {"v": 1},
            {"v": 2, "ticket": TICKET.render()},
            {"v": True, "ticket": TICKET.render()},
            {"v": 1, "ticket": TICKET.render(), "links": []},
            {"v": 1, "ticket": TICKET.render() + "&"},
            {"v": 1, "ticket": 7},
            {"v": 1, "device": []},
            {"v": 1, "device": {"id": "d"}},
            {"v": 1, "links": [], "confs": []},
            {"v": 1, "links": [], "confs": [{"name": "a\n", "conf": ""}]},
            {"v": 1, "links": [], "confs": [{"name": "\u202ea", "conf": ""}]},
            {"v": 1, "links": [], "confs": [{"name": "a", "conf": "", "x": 1}]},
            {"v": 1, "links": [{"name": "a", "link": "", "post_quantum": 1, "version": ""}], "confs": []},
            {"v": 1, "links": {}, "confs": [{"name": "a", "conf": ""}]},
        ],
    )
    def test_the_schema_is_closed(self, body: dict[str, object]) -> None:
        with pytest.raises(BundleFormatError):
            decode_content(encode_canonical(body))

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"[" * 100_000, b'{"v":1 }', b"\xff", b'{"v":NaN}'])
    def test_what_is_no_object_in_its_one_spelling_is_refused(self, data: bytes) -> None:
        with pytest.raises(BundleFormatError):
            decode_content(data)

    @quick
    @given(
        st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda c: st.lists(c, max_size=2), max_leaves=4)
    )
    def test_no_shape_of_a_device_is_another_error(self, junk: object) -> None:
        for name in ("id", "tls", "root", "beacons", "awg"):
            try:
                found = decode_content(encode_canonical({"v": 1, "device": {**_body(device()), name: junk}}))
            except BundleFormatError:
                continue
            assert isinstance(found, FileDevice)
            assert name in ("id", "tls")


def _body(content: FileDevice) -> dict[str, object]:
    body: dict[str, object] = json.loads(encode_content(content))["device"]
    return body


SAMPLES = Path(__file__).parent


@pytest.mark.parametrize(
    ("name", "closed", "content"),
    [
        ("pharosfile_v1_none.bin", {}, TICKET),
        ("pharosfile_v1_password.bin", {"passphrase": "correct horse battery"}, COLLECTION),
        ("pharosfile_v1_device.bin", {"sealing_key": KEY}, device()),
    ],
)
def test_files_of_the_first_version_open_for_ever(name: str, closed: dict[str, Any], content: Content) -> None:
    assert open_file((SAMPLES / name).read_bytes(), **closed) == encode_content(content)


def test_a_file_is_written_as_the_samples_are() -> None:
    sample = (SAMPLES / "pharosfile_v1_password.bin").read_bytes()
    made = seal_file(encode_content(COLLECTION), made=5, passphrase="correct horse battery", random=pattern_bytes)
    assert made == sample
    assert seal_file(encode_content(TICKET), made=5, random=pattern_bytes) == (
        (SAMPLES / "pharosfile_v1_none.bin").read_bytes()
    )


def pattern_bytes(size: int) -> bytes:
    """Stand in for random octets, to pin a sample."""
    return bytes(range(size))


def test_headers_of_three_kinds_are_frozen() -> None:
    cost = KeyCost(salt=bytes(range(16)), passes=3, octets=67108864)
    assert [
        FileHeader(closure=Closure.NONE, made=5).encode(),
        FileHeader(closure=Closure.PASSWORD, made=5, cost=cost).encode(),
        FileHeader(closure=Closure.DEVICE, made=5, recipient="ab" * 32).encode(),
    ] == [
        b'{"alg":"xchacha20poly1305","enc":"none","made":5,"v":1}',
        (
            b'{"alg":"argon2id+xchacha20poly1305","enc":"password","made":5,"octets":67108864,"passes":3,'
            b'"salt":"AAECAwQFBgcICQoLDA0ODw==","v":1}'
        ),
        b'{"alg":"sealedbox+xchacha20poly1305","enc":"device","made":5,"recipient":"' + b"ab" * 32 + b'","v":1}',
    ]

import base64
import datetime
import json

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, ManifestError
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.pki.issue import make_fleet_ca
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.manifest import MAX_MANIFEST, Manifest, sign_manifest, verify_manifest
from pharos.wire.pki.roles import Authority
from pharos.wire.pki.trust import Trust
from tests.support.pki import SampleFleet, believing_both, home_fleet, make_fleet, other_fleet, utc_now

HOME = home_fleet()
NOW = utc_now()
SECOND = datetime.timedelta(seconds=1)
SIGNING_KEY, NOISE_KEY = bytes(range(32)), bytes(range(32, 64))
NEXT_SIGNING_KEY, NEXT_NOISE_KEY = bytes(range(64, 96)), bytes(range(96, 128))
ROTATING = believing_both(HOME, HOME.rotated(Authority.FLEET).rotated(Authority.DEVICE))


def signed(fleet: SampleFleet = HOME, *, version: int = 3) -> bytes:
    return sign_manifest(
        version=version,
        trust=fleet.trust,
        signing_key=SIGNING_KEY,
        noise_key=NOISE_KEY,
        root_key=fleet.root_key,
    )


def verify(blob: bytes, *, fleet: SampleFleet = HOME, now: datetime.datetime = NOW) -> Manifest:
    return verify_manifest(blob, root_hash=fleet.root_hash, now=now)


def content() -> dict[str, object]:
    """What the manifest of `signed` says, to be changed and signed again by the true root."""
    blob = signed()
    loaded: dict[str, object] = json.loads(blob[blob.index(b'{"device_ca"') :])
    return loaded


def sealed(payload: bytes, *, key: ec.EllipticCurvePrivateKey = HOME.root_key) -> bytes:
    """The format, written down a second time."""
    root = der(HOME.trust.root)
    message = b"pharos/manifest/v1" + len(payload).to_bytes(4, "big") + payload
    signature = key.sign(message, ec.ECDSA(hashes.SHA384()))
    frames = (len(part).to_bytes(2, "big") + part for part in (root, signature))
    return b"\x01" + b"".join(frames) + payload


def test_manifest_says_what_was_signed() -> None:
    assert verify(signed()) == Manifest(
        version=3,
        trust=HOME.trust,
        signing_key=SIGNING_KEY,
        noise_key=NOISE_KEY,
        expires=HOME.trust.fleet_ca.not_valid_after_utc,
    )


def test_format_is_as_documented() -> None:
    expected = {
        "version": 3,
        "fleet": HOME.id,
        "expires": int(HOME.trust.fleet_ca.not_valid_after_utc.timestamp()),
        "fleet_ca": {"current": base64.b64encode(der(HOME.trust.fleet_ca)).decode()},
        "device_ca": {"current": base64.b64encode(der(HOME.trust.anchor(Authority.DEVICE))).decode()},
        "signing_key": {"current": base64.b64encode(SIGNING_KEY).decode()},
        "noise_key": {"current": base64.b64encode(NOISE_KEY).decode()},
    }
    assert content() == expected
    assert verify(sealed(encode_canonical(expected))) == verify(signed())


def with_successors(
    *, trust: Trust = ROTATING, signing: bytes | None = NEXT_SIGNING_KEY, noise: bytes | None = NEXT_NOISE_KEY
) -> bytes:
    return sign_manifest(
        version=4,
        trust=trust,
        signing_key=SIGNING_KEY,
        noise_key=NOISE_KEY,
        next_signing_key=signing,
        next_noise_key=noise,
        root_key=HOME.root_key,
    )


def test_successors_are_told_beside_the_current() -> None:
    manifest = verify(with_successors())
    assert manifest.trust == ROTATING
    assert manifest.signing_keys == (SIGNING_KEY, NEXT_SIGNING_KEY)
    assert (manifest.noise_key, manifest.next_noise_key) == (NOISE_KEY, NEXT_NOISE_KEY)
    assert verify(signed()).signing_keys == (SIGNING_KEY,)


def test_each_successor_can_come_alone() -> None:
    one_ca = attrs.evolve(ROTATING, next_device_ca=None)
    assert verify(with_successors(trust=one_ca, signing=None, noise=None)).trust == one_ca
    assert verify(with_successors(trust=HOME.trust, noise=None)).next_signing_key == NEXT_SIGNING_KEY
    assert verify(with_successors(trust=HOME.trust, signing=None)).next_noise_key == NEXT_NOISE_KEY


def read_by_version_one(blob: bytes) -> tuple[int, bytes, bytes, bytes, bytes]:
    """The reader that was there before successors were, frozen: version, both authorities, both keys."""
    length = int.from_bytes(blob[1:3], "big")
    root, rest = x509.load_der_x509_certificate(blob[3 : 3 + length]), blob[3 + length :]
    length = int.from_bytes(rest[:2], "big")
    signature, payload = rest[2 : 2 + length], rest[2 + length :]
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signed_text = b"pharos/manifest/v1" + len(payload).to_bytes(4, "big") + payload
    key.verify(signature, signed_text, ec.ECDSA(hashes.SHA384()))
    said = json.loads(payload)
    assert json.dumps(said, sort_keys=True, separators=(",", ":")).encode() == payload
    slots = ("fleet_ca", "device_ca", "signing_key", "noise_key")
    fleet_ca, device_ca, signing_key, noise_key = (base64.b64decode(said[slot]["current"]) for slot in slots)
    ends = [x509.load_der_x509_certificate(ca).not_valid_after_utc for ca in (fleet_ca, device_ca)]
    assert said["expires"] <= min(root.not_valid_after_utc, *ends).timestamp()
    return said["version"], fleet_ca, device_ca, signing_key, noise_key


def test_reader_of_version_one_goes_on_with_the_current() -> None:
    current = der(HOME.trust.fleet_ca), der(HOME.trust.anchor(Authority.DEVICE)), SIGNING_KEY, NOISE_KEY
    assert read_by_version_one(signed()) == (3, *current)
    assert read_by_version_one(with_successors()) == (4, *current)


def test_unknown_members_do_not_disturb_a_reader_of_today() -> None:
    later = content()
    for slot in ("fleet_ca", "device_ca", "signing_key", "noise_key"):
        known = later[slot]
        assert isinstance(known, dict)
        later[slot] = known | {"after": NOW.year}
    later["ct_log"] = {"current": "unheard of"}
    assert verify(sealed(encode_canonical(later))) == verify(signed())


def test_largest_manifest_fits_three_times_over() -> None:
    assert len(with_successors()) <= MAX_MANIFEST // 3


def test_manifest_expires_with_a_successor_that_ends_first() -> None:
    old = make_fleet(now=NOW - datetime.timedelta(days=365))
    brief = attrs.evolve(
        old.trust, next_fleet_ca=old.trust.fleet_ca, fleet_ca=old.rotated(Authority.FLEET, now=NOW).trust.fleet_ca
    )
    assert brief.next_fleet_ca is not None
    blob = sign_manifest(version=1, trust=brief, signing_key=SIGNING_KEY, noise_key=NOISE_KEY, root_key=old.root_key)
    manifest = verify(blob, fleet=old)
    assert manifest.expires == brief.next_fleet_ca.not_valid_after_utc < brief.fleet_ca.not_valid_after_utc


def test_successor_that_is_none_is_neither_signed_nor_read() -> None:
    foreign, device_ca = other_fleet().trust.fleet_ca, HOME.trust.anchor(Authority.DEVICE)
    expired = make_fleet_ca(
        generate_key().public_key(),
        root=HOME.trust.root,
        root_key=HOME.root_key,
        now=NOW - datetime.timedelta(days=5 * 365 + 1),
        serial=7,
    )
    nonsense: list[tuple[str, object]] = [
        ("fleet_ca", base64.b64encode(der(foreign)).decode()),
        ("fleet_ca", base64.b64encode(der(device_ca)).decode()),
        ("fleet_ca", base64.b64encode(der(expired)).decode()),
        ("fleet_ca", FLEET_CA_TEXT),
        ("fleet_ca", "AAAA"),
        ("fleet_ca", None),
        ("device_ca", base64.b64encode(der(device_ca)).decode()),
        ("signing_key", base64.b64encode(SIGNING_KEY).decode()),
        ("signing_key", base64.b64encode(bytes(31)).decode()),
        ("noise_key", base64.b64encode(NOISE_KEY).decode()),
        ("noise_key", 7),
    ]
    for slot, successor in nonsense:
        said = content()
        current = said[slot]
        assert isinstance(current, dict)
        said[slot] = current | {"next": successor}
        with pytest.raises(ManifestError):
            pytest.fail(f"{slot} {successor}: {verify(sealed(encode_canonical(said)))}")
    for change in (
        {"trust": attrs.evolve(HOME.trust, next_fleet_ca=HOME.trust.fleet_ca)},
        {"signing": SIGNING_KEY},
        {"noise": NOISE_KEY},
        {"noise": bytes(31)},
    ):
        with pytest.raises(LocalProtocolError):
            with_successors(**change)


def test_manifest_of_another_root_is_refused() -> None:
    with pytest.raises(ManifestError, match="another fleet"):
        verify(signed(other_fleet()))
    for key in (other_fleet().root_key, HOME.fleet_ca_key, generate_key()):
        with pytest.raises(ManifestError, match="signature"):
            verify(sealed(encode_canonical(content()), key=key))


def test_signature_of_another_context_is_refused() -> None:
    payload = encode_canonical(content())
    signature = HOME.root_key.sign(payload, ec.ECDSA(hashes.SHA384()))
    root = der(HOME.trust.root)
    frames = (len(part).to_bytes(2, "big") + part for part in (root, signature))
    with pytest.raises(ManifestError, match="signature"):
        verify(b"\x01" + b"".join(frames) + payload)


def test_older_version_is_refused() -> None:
    for minimum, welcome in ((2, True), (3, True), (4, False)):
        if welcome:
            assert verify_manifest(signed(), root_hash=HOME.root_hash, now=NOW, minimum_version=minimum).version == 3
        else:
            with pytest.raises(ManifestError, match="version 3"):
                verify_manifest(signed(), root_hash=HOME.root_hash, now=NOW, minimum_version=minimum)


def test_manifest_expires_with_its_earliest_certificate() -> None:
    fleet = make_fleet(now=NOW)
    end = fleet.trust.fleet_ca.not_valid_after_utc
    assert verify(signed(fleet), fleet=fleet, now=end).expires == end
    with pytest.raises(ManifestError):
        verify(signed(fleet), fleet=fleet, now=end + SECOND)


def test_manifest_may_end_before_its_certificates_but_not_after() -> None:
    said = content()
    soon = int((NOW + SECOND).timestamp())
    said["expires"] = soon
    assert verify(sealed(encode_canonical(said))).expires.timestamp() == soon
    with pytest.raises(ManifestError, match="expired"):
        verify(sealed(encode_canonical(said)), now=NOW + 3 * SECOND)
    said["expires"] = int((HOME.trust.fleet_ca.not_valid_after_utc + SECOND).timestamp())
    with pytest.raises(ManifestError, match="outlive"):
        verify(sealed(encode_canonical(said)))


FLEET_CA_TEXT = base64.b64encode(der(HOME.trust.fleet_ca)).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", None),
        ("version", 0),
        ("version", -1),
        ("version", True),
        ("version", "3"),
        ("version", 3.0),
        ("version", 10**40),
        ("expires", None),
        ("expires", 10**12),
        pytest.param("fleet", other_fleet().id, id="fleet-other"),
        ("fleet", None),
        ("fleet_ca", None),
        pytest.param("fleet_ca", FLEET_CA_TEXT, id="fleet_ca-bare"),
        ("fleet_ca", {"next": FLEET_CA_TEXT}),
        ("fleet_ca", {"current": None}),
        ("fleet_ca", {"current": FLEET_CA_TEXT + "="}),
        ("fleet_ca", {"current": FLEET_CA_TEXT + "\n"}),
        ("fleet_ca", {"current": "ä"}),
        ("fleet_ca", {"current": "AAAA"}),
        ("fleet_ca", {"current": base64.b64encode(der(other_fleet().trust.fleet_ca)).decode()}),
        ("device_ca", {"current": FLEET_CA_TEXT}),
        ("signing_key", {"current": base64.b64encode(bytes(31)).decode()}),
        ("signing_key", {"current": base64.b64encode(bytes(32)).decode()[:-2] + "B="}),
        ("noise_key", {"current": base64.b64encode(bytes(33)).decode()}),
    ],
)
def test_root_signed_nonsense_is_refused(name: str, value: object) -> None:
    said = content() | {name: value}
    with pytest.raises(ManifestError):
        verify(sealed(encode_canonical(said)))
    said.pop(name)
    with pytest.raises(ManifestError):
        verify(sealed(encode_canonical(said)))


def test_payload_has_one_spelling() -> None:
    with pytest.raises(ManifestError, match="canonical"):
        verify(sealed(json.dumps(content()).encode()))


def test_unknown_format_is_refused() -> None:
    for first in (0, 2, 255):
        with pytest.raises(ManifestError, match="newer version"):
            verify(bytes([first]) + signed()[1:])


def test_size_is_capped() -> None:
    said = content() | {"padding": "a" * MAX_MANIFEST}
    with pytest.raises(ManifestError, match="limit"):
        verify(sealed(encode_canonical(said)))


BLOB = signed()


@given(length=st.integers(0, len(BLOB) - 1))
def test_cut_manifest_is_refused(length: int) -> None:
    with pytest.raises(ManifestError):
        verify(BLOB[:length])


@given(at=st.integers(0, len(BLOB) - 1), byte=st.integers(0, 255))
def test_no_changed_byte_is_believed(at: int, byte: int) -> None:
    damaged = BLOB[:at] + bytes([byte]) + BLOB[at + 1 :]
    if damaged == BLOB:
        return
    with pytest.raises(ManifestError):
        verify(damaged)


@given(junk=st.binary(max_size=100).map(lambda tail: b"\x01" + tail) | st.binary(max_size=100))
def test_junk_is_no_manifest(junk: bytes) -> None:
    with pytest.raises(ManifestError):
        verify(junk)


def test_signing_refuses_what_no_reader_would_believe() -> None:
    good = {"version": 1, "trust": HOME.trust, "signing_key": SIGNING_KEY, "noise_key": NOISE_KEY}
    bad = (
        {"version": 0},
        {"signing_key": bytes(31)},
        {"noise_key": b""},
        {"trust": Trust(root=HOME.trust.root, fleet_ca=HOME.trust.fleet_ca)},
        {"trust": other_fleet().trust},
    )
    for change in bad:
        with pytest.raises(LocalProtocolError):
            sign_manifest(**(good | change), root_key=HOME.root_key)  # type: ignore[arg-type]

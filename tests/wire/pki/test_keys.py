import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.errors import RemoteProtocolError, StateFileError
from pharos.wire.pki.keys import (
    certificate_from_der,
    certificate_to_der,
    generate_key,
    generate_root_key,
    key_from_der,
    key_to_der,
)
from tests.support.pki import home_fleet


def test_keys_survive_their_bytes() -> None:
    for key in (generate_key(), generate_root_key()):
        assert key_from_der(key_to_der(key)).private_numbers() == key.private_numbers()


def test_root_key_is_the_stronger() -> None:
    assert isinstance(generate_root_key().curve, ec.SECP384R1)
    assert isinstance(generate_key().curve, ec.SECP256R1)


@pytest.mark.parametrize("damaged", [b"", b"junk", key_to_der(generate_key())[:-1]])
def test_damaged_key_is_a_state_error(damaged: bytes) -> None:
    with pytest.raises(StateFileError):
        key_from_der(damaged)


def test_certificate_survives_its_bytes() -> None:
    root = home_fleet().trust.root
    assert certificate_from_der(certificate_to_der(root)) == root
    with pytest.raises(RemoteProtocolError):
        certificate_from_der(certificate_to_der(root)[:-1])

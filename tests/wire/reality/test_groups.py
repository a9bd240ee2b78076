import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.reality.errors import TlsError
from pharos.wire.reality.groups import (
    CLIENT_SHARE,
    GROUPS,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    SERVER_SHARE,
    X25519,
    X25519MLKEM768,
    HybridShare,
    X25519Share,
    answer_share,
    make_share,
)
from tests.support.reality import seeded
from tests.support.strategies import quick

CURVES = {SECP256R1: ec.SECP256R1(), SECP384R1: ec.SECP384R1(), SECP521R1: ec.SECP521R1()}


@pytest.mark.parametrize("group", CLIENT_SHARE)
def test_device_and_node_come_to_the_same_secret(group: int) -> None:
    share = make_share(group, seeded())
    answer, secret = answer_share(group, share.public, seeded(1))
    assert (len(share.public), len(answer)) == (CLIENT_SHARE[group], SERVER_SHARE[group])
    assert share.exchange(answer) == secret
    assert len(secret) == (64 if group == X25519MLKEM768 else 32)


@pytest.mark.parametrize("group", CURVES)
def test_a_curve_of_nist_comes_to_the_same_secret_as_its_peer(group: int) -> None:
    share = make_share(group, seeded())
    theirs = make_share(group, seeded(1))
    assert share.exchange(theirs.public) == theirs.exchange(share.public)
    assert len(share.public) == 1 + 2 * ((CURVES[group].key_size + 7) // 8)


def test_a_post_quantum_share_may_hold_the_key_of_another() -> None:
    common = X25519Share(bytes(range(32)))
    hybrid = make_share(X25519MLKEM768, seeded(), x25519=common)
    assert isinstance(hybrid, HybridShare)
    assert hybrid.x25519 is common
    assert hybrid.public[-32:] == common.public
    assert make_share(X25519, seeded(), x25519=common) is common


def test_a_point_of_low_order_is_refused_on_both_sides() -> None:
    share = make_share(X25519, seeded())
    for point in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(TlsError):
            share.exchange(point)
        with pytest.raises(TlsError):
            answer_share(X25519, point, seeded())


def test_a_node_answers_in_no_other_group() -> None:
    for group in GROUPS - CLIENT_SHARE.keys():
        with pytest.raises(TlsError):
            answer_share(group, make_share(group, seeded()).public, seeded())


@pytest.mark.parametrize("group", sorted(GROUPS))
@given(answer=st.binary(max_size=1200))
@quick
def test_no_answer_raises_anything_but_a_tls_error(group: int, answer: bytes) -> None:
    share = make_share(group, seeded())
    for attempt in (lambda: share.exchange(answer), lambda: answer_share(group, answer, seeded())):
        try:
            attempt()
        except TlsError:
            continue
        assert len(answer) == 32, "any 32 octets are an X25519 key"


def test_a_ciphertext_for_another_key_gives_another_secret() -> None:
    ours, other = make_share(X25519MLKEM768, seeded()), make_share(X25519MLKEM768, seeded(1))
    answer, secret = answer_share(X25519MLKEM768, other.public, seeded(2))
    assert ours.exchange(answer) != secret

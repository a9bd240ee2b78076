from typing import Any

import attrs
import pytest

from pharos.wire.errors import LocalProtocolError
from pharos.wire.reality.auth import Admitted, Mark, Refusal, seal_offer
from pharos.wire.reality.client import CLIENT_VERSION
from pharos.wire.reality.groups import SECP256R1, X25519, X25519MLKEM768
from pharos.wire.reality.hello import SESSION_ID, ClientHello, read_client_hello
from pharos.wire.reality.offer import make_offer
from pharos.wire.reality.parrots import CHROME, PARROTS, Parrot
from tests.support.reality import NAME, NODE_KEY, NOW, SHORT_ID, gate, node_public_key, seeded

MARK = Mark(version=CLIENT_VERSION, time=int(NOW), short_id=SHORT_ID)


def sealed(
    parrot: Parrot = CHROME, *, mark: Mark = MARK, name: str = NAME, key: bytes = NODE_KEY
) -> tuple[ClientHello, bytes]:
    """Return a marked hello and the device's authentication key."""
    offer, auth_key = seal_offer(
        make_offer(parrot, server_name=name, random=seeded()), public_key=node_public_key(key), mark=mark
    )
    return read_client_hello(offer.message), auth_key


@pytest.mark.parametrize("parrot", PARROTS.values(), ids=PARROTS)
def test_a_node_reads_the_mark_that_a_device_made(parrot: Parrot) -> None:
    hello, auth_key = sealed(parrot)
    assert gate().judge(hello, now=NOW) == Admitted(auth_key=auth_key, mark=MARK)


def test_a_mark_has_xrays_layout() -> None:
    assert MARK.encode().hex() == "1a031b00" + f"{int(NOW):08x}" + SHORT_ID.hex()
    assert Mark.decode(MARK.encode()) == MARK


@pytest.mark.parametrize(
    "change", [{"short_id": b"short"}, {"time": 2**32}, {"time": -1}, {"version": (256, 0, 0)}], ids=str
)
def test_a_mark_out_of_range_is_our_mistake(change: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        attrs.evolve(MARK, **change).encode()


def test_a_key_that_is_none_is_our_mistake() -> None:
    offer = make_offer(CHROME, server_name=NAME, random=seeded())
    for key in (bytes(32), b"short"):
        with pytest.raises(LocalProtocolError):
            seal_offer(offer, public_key=key, mark=MARK)


@pytest.mark.parametrize(
    ("options", "changes", "refusal"),
    [
        ({"name": "other.test"}, {}, Refusal.WRONG_NAME),
        ({"name": NAME.upper()}, {}, Refusal.WRONG_NAME),
        ({"key": bytes(31) + b"\1"}, {}, Refusal.NO_MARK),
        ({}, {"oldest": (26, 3, 28)}, Refusal.OLD_VERSION),
        ({}, {"newest": (26, 3, 26)}, Refusal.NEW_VERSION),
        ({"mark": attrs.evolve(MARK, time=int(NOW) - 121)}, {}, Refusal.WRONG_TIME),
        ({"mark": attrs.evolve(MARK, time=int(NOW) + 121)}, {}, Refusal.WRONG_TIME),
        ({"mark": attrs.evolve(MARK, short_id=bytes(8))}, {}, Refusal.UNKNOWN_SHORT_ID),
    ],
    ids=str,
)
def test_each_refusal_has_its_reason(options: dict[str, object], changes: dict[str, object], refusal: Refusal) -> None:
    hello, _ = sealed(**options)  # type: ignore[arg-type]
    assert gate(**changes).judge(hello, now=NOW) is refusal


def test_limits_include_what_stands_on_them() -> None:
    for skew in (-120, 120):
        hello, _ = sealed(mark=attrs.evolve(MARK, time=int(NOW) + skew))
        bounds = gate(oldest=CLIENT_VERSION, newest=CLIENT_VERSION)
        assert isinstance(bounds.judge(hello, now=NOW), Admitted)


def test_without_a_limit_of_time_an_old_hello_is_as_good_as_new() -> None:
    hello, _ = sealed(mark=attrs.evolve(MARK, time=0))
    assert isinstance(gate(max_time_difference=0).judge(hello, now=NOW), Admitted)


def test_a_hello_without_tls13_or_a_share_of_x25519_is_a_strangers() -> None:
    hello, _ = sealed()
    assert gate().judge(attrs.evolve(hello, versions=(0x0303,)), now=NOW) is Refusal.NOT_TLS13
    for shares in ({}, {SECP256R1: bytes(65)}, {X25519: bytes(31)}, {X25519MLKEM768: bytes(32)}):
        assert gate().judge(attrs.evolve(hello, shares=shares), now=NOW) is Refusal.NO_KEY_SHARE


def test_shares_of_low_order_and_short_session_ids_are_a_strangers() -> None:
    hello, _ = sealed()
    assert gate().judge(attrs.evolve(hello, shares={X25519: bytes(32)}), now=NOW) is Refusal.NO_MARK
    assert gate().judge(attrs.evolve(hello, session_id=hello.session_id[:-1]), now=NOW) is Refusal.NO_MARK


def test_the_post_quantum_shares_key_serves_where_it_is_alone() -> None:
    alone = attrs.evolve(CHROME, groups=(X25519MLKEM768,), shares=(X25519MLKEM768,))
    hello, auth_key = sealed(alone)
    assert list(hello.shares) == [X25519MLKEM768]
    assert gate().judge(hello, now=NOW) == Admitted(auth_key=auth_key, mark=MARK)


def test_a_hello_that_was_touched_anywhere_is_a_strangers() -> None:
    hello, _ = sealed()
    # The version bytes of the head and the lengths are what parsing looks at; these are octets that it copies.
    for index in (10, 30, SESSION_ID.start, SESSION_ID.stop - 1, hello.raw.index(b"http/1.1"), hello.raw.index(b"h2")):
        raw = bytearray(hello.raw)
        raw[index] ^= 1
        assert gate().judge(read_client_hello(bytes(raw)), now=NOW) is Refusal.NO_MARK


def test_keys_are_not_printed() -> None:
    hello, auth_key = sealed()
    for shown in (repr(gate()), repr(gate().judge(hello, now=NOW))):
        assert repr(auth_key) not in shown
        assert repr(NODE_KEY) not in shown

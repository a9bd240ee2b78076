import random

import pytest

from pharos.wire.awg.cookies import COOKIE_LIFETIME, MacChecker, MacStamper
from pharos.wire.awg.keys import public_key
from pharos.wire.awg.messages import COOKIE_REPLY
from pharos.wire.awg.primitives import blake2s, mac
from pharos.wire.errors import DecryptError

PUBLIC = public_key(bytes(range(32)))
SOURCE = ("192.0.2.1", 5000)
MESSAGE = b"\x01\0\0\0" + b"\x44\x33\x22\x11" + bytes(108)


@pytest.fixture
def ends():
    return MacStamper(PUBLIC), MacChecker(PUBLIC, random.Random(1).randbytes)


def test_mac1_shows_that_the_sender_knows_our_key(ends):
    stamper, checker = ends
    message = stamper.stamp(MESSAGE, 0.0)
    assert checker.mac1_matches(message)
    assert message[-16:] == bytes(16)
    for position in (0, 50, -20):
        damaged = bytearray(message)
        damaged[position] ^= 1
        assert not checker.mac1_matches(bytes(damaged))
    assert not checker.mac1_matches(MacStamper(public_key(bytes(32))).stamp(MESSAGE, 0.0))


def test_a_cookie_makes_mac2_for_its_address_only(ends):
    stamper, checker = ends
    message = stamper.stamp(MESSAGE, 0.0)
    assert not checker.mac2_matches(message, SOURCE, 0.0)
    reply = checker.make_reply(message, SOURCE, 0.0, header=3)
    assert len(reply) == 64
    assert COOKIE_REPLY.unpack(reply)[:2] == (3, 0x11223344)
    stamper.accept_reply(reply, 0.0)
    message = stamper.stamp(MESSAGE, 1.0)
    assert checker.mac1_matches(message)
    assert checker.mac2_matches(message, SOURCE, 1.0)
    assert not checker.mac2_matches(message, ("192.0.2.1", 5001), 1.0)
    assert not checker.mac2_matches(message, ("192.0.2.2", 5000), 1.0)


def test_mac2_is_what_the_paper_says(ends):
    stamper, checker = ends
    message = stamper.stamp(MESSAGE, 0.0)
    stamper.accept_reply(checker.make_reply(message, SOURCE, 0.0, header=3), 0.0)
    message = stamper.stamp(MESSAGE, 0.0)
    assert message[-32:-16] == mac(blake2s(b"mac1----", PUBLIC), MESSAGE)
    assert message[-16:] == mac(checker._cookie(SOURCE, 0.0), message[:-16])


def test_a_cookie_grows_old_at_both_ends(ends):
    stamper, checker = ends
    message = stamper.stamp(MESSAGE, 0.0)
    stamper.accept_reply(checker.make_reply(message, SOURCE, 0.0, header=3), 0.0)
    assert stamper.stamp(MESSAGE, COOKIE_LIFETIME)[-16:] == bytes(16)
    fresh = stamper.stamp(MESSAGE, COOKIE_LIFETIME - 1)
    assert checker.mac2_matches(fresh, SOURCE, COOKIE_LIFETIME - 1)
    assert not checker.mac2_matches(fresh, SOURCE, COOKIE_LIFETIME)


def test_a_cookie_reply_to_another_message_is_refused(ends):
    stamper, checker = ends
    with pytest.raises(DecryptError, match="reply to nothing"):
        stamper.accept_reply(bytes(64), 0.0)
    first = stamper.stamp(MESSAGE, 0.0)
    stamper.stamp(MESSAGE + b"x", 0.0)
    with pytest.raises(DecryptError, match="does not authenticate"):
        stamper.accept_reply(checker.make_reply(first, SOURCE, 0.0, header=3), 0.0)


def test_a_cookie_reply_is_taken_once(ends):
    stamper, checker = ends
    reply = checker.make_reply(stamper.stamp(MESSAGE, 0.0), SOURCE, 0.0, header=3)
    stamper.accept_reply(reply, 0.0)
    with pytest.raises(DecryptError):
        stamper.accept_reply(reply, 100.0)

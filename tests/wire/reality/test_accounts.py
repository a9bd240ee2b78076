import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.reality.accounts import Account, Accounts, masked_user_id, parse_user_id
from tests.support.strategies import quick
from tests.wire.reality.proxied import OTHER_ID, USER_ID

ADA = Account(name="ada", user_id=USER_ID)


def routed(user_id: bytes, route: bytes) -> bytes:
    return user_id[:6] + route + user_id[8:]


@quick
@given(st.binary(min_size=2, max_size=2))
def test_a_user_is_found_whatever_octets_6_and_7_say(route):
    accounts = Accounts([ADA, Account(name="bob", user_id=OTHER_ID)])
    assert accounts.find(routed(USER_ID, route)) is ADA


@quick
@given(st.integers(0, 15).filter(lambda at: at not in (6, 7)), st.integers(1, 255))
def test_every_other_octet_counts(at, change):
    wrong = bytearray(USER_ID)
    wrong[at] ^= change
    with pytest.raises(RemoteProtocolError, match="nobody has that user id") as caught:
        Accounts([ADA]).find(bytes(wrong))
    assert wrong.hex() not in str(caught.value)


def test_two_users_of_one_id_would_be_one_and_are_refused():
    accounts = Accounts([ADA])
    # Xray would let the one who came last in, under whose name it happens to be.
    with pytest.raises(ParameterError):
        accounts.add(Account(name="eve", user_id=routed(USER_ID, b"\xff\xff")))
    with pytest.raises(ParameterError):
        accounts.add(Account(name="ada", user_id=OTHER_ID))
    assert list(accounts) == [ADA]


def test_a_user_who_is_removed_is_not_found_and_may_come_again():
    accounts = Accounts([ADA])
    accounts.remove("ada")
    accounts.remove("nobody")
    with pytest.raises(RemoteProtocolError):
        accounts.find(USER_ID)
    assert len(accounts) == 0
    accounts.add(ADA)
    assert accounts.find(USER_ID) is ADA


@quick
@given(st.uuids())
def test_a_user_id_is_read_in_its_usual_spelling(value):
    assert parse_user_id(str(value)) == value.bytes
    assert parse_user_id(str(value).upper()) == value.bytes
    assert masked_user_id(value.bytes)[6:8] == b"\0\0"


@pytest.mark.parametrize(
    "text", ["", "x", uuid.UUID(bytes=USER_ID).hex, f"{{{uuid.UUID(bytes=USER_ID)}}}", f"urn:uuid:{uuid.UUID(int=1)}"]
)
def test_no_other_spelling_of_a_user_id_is_taken(text):
    with pytest.raises(ParameterError, match="groups of 8, 4, 4, 4 and 12"):
        parse_user_id(text)


def test_an_account_needs_a_whole_user_id_and_does_not_show_it():
    with pytest.raises(ParameterError, match="15 octets"):
        Account(name="ada", user_id=USER_ID[:15])
    assert "user_id" not in repr(ADA)

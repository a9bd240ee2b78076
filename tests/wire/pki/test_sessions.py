from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.sessions import Sessions
from pharos.wire.pki.tls import Credentials
from tests.support.pki import home_fleet

HOME = home_fleet()
ANN, BOB = HOME.identity(Role.DEVICE, "ann"), HOME.identity(Role.DEVICE, "bob")
MEMBERS = {identity: HOME.member(Role.DEVICE, identity.id) for identity in (ANN, BOB)}


@contextmanager
def connected(sessions: Sessions, identity: Identity, cut: list[str], name: str = "") -> Iterator[None]:
    def note() -> None:
        cut.append(name or identity.id)

    credentials: Credentials = MEMBERS[identity]
    with sessions.session(identity, der(credentials.certificate), cut=note):
        yield


def test_denied_session_is_cut_and_the_others_go_on() -> None:
    sessions, cut = Sessions(), list[str]()
    with connected(sessions, ANN, cut, "ann 1"), connected(sessions, ANN, cut, "ann 2"), connected(sessions, BOB, cut):
        deny = HOME.deny_list(ANN)
        assert sessions.apply(deny) == (ANN, ANN)
        assert sorted(cut) == ["ann 1", "ann 2"]
        assert sessions.deny is deny
        # Nobody is cut twice, and a list that denies somebody else leaves the rest alone.
        assert sessions.apply(HOME.deny_list(ANN, HOME.identity(Role.DEVICE, "carl"), version=2)) == ()
        assert sessions.apply(HOME.deny_list(BOB, version=3)) == (BOB,)
        assert cut[-1] == "bob"


def test_denied_key_is_cut_under_any_name() -> None:
    sessions, cut = Sessions(), list[str]()
    stolen = spki_hash(MEMBERS[BOB].key.public_key())
    with connected(sessions, ANN, cut), connected(sessions, BOB, cut):
        assert sessions.apply(HOME.deny_list(keys=[stolen])) == (BOB,)
        assert cut == ["bob"]


def test_list_between_the_check_and_the_session_is_not_missed() -> None:
    sessions, cut = Sessions(), list[str]()
    sessions.apply(HOME.deny_list(ANN))
    with pytest.raises(PeerRejectedError, match="revoked"), connected(sessions, ANN, cut):
        pytest.fail("the session began")
    assert cut == []


def test_ended_session_is_not_cut() -> None:
    sessions, cut = Sessions(), list[str]()
    with connected(sessions, ANN, cut):
        pass
    with pytest.raises(KeyError), connected(sessions, BOB, cut):
        raise KeyError
    assert sessions.apply(HOME.deny_list(ANN, BOB)) == ()
    assert cut == []


def test_session_may_end_while_another_is_being_cut() -> None:
    """A cut that closes a stream can end the block of another session at once."""
    sessions, cut, stack = Sessions(), list[str](), ExitStack()
    stack.enter_context(connected(sessions, BOB, cut))
    with sessions.session(ANN, der(MEMBERS[ANN].certificate), cut=stack.close):
        assert set(sessions.apply(HOME.deny_list(ANN, BOB))) == {ANN, BOB}
    assert cut == ["bob"]

"""Row 5. Position: a fleet of the attacker's own, with the same names in it. Wants: to be taken for a member of ours.

Countermeasure: each fleet has a root of its own, whose hash is in every URI and DNS name.
"""

import ssl

import pytest

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import CONTROL, Role
from pharos.wire.pki.tls import client_context, server_context
from pharos.wire.pki.verify import authorize_peer
from tests.support.pki import other_fleet, utc_now
from tests.support.tls import shake_hands
from tests.wire.pki.test_matrix import (
    HOME,
    Listener,
    admit_everybody,
    admitted_to,
    everywhere,
    proper_context,
    running,
)

OTHER = other_fleet()


def context_of_two_fleets(listener: Listener) -> ssl.SSLContext:
    """Weakened: the listener's TLS believes the other fleet's authority too."""
    context = proper_context(listener)
    context.load_verify_locations(cadata=der(OTHER.trust.anchor(listener.policy.authority)))
    return context


@everywhere
@pytest.mark.red_inside
async def test_a05_no_member_of_another_fleet_gets_in(listener: Listener) -> None:
    # With no certificate, nobody can tell which fleet a peer is of.
    strangers = listener.admitted & {None}
    async with running(listener, admit=admit_everybody, make_context=context_of_two_fleets) as weakened:
        assert await admitted_to(weakened, OTHER) > strangers
    async with running(listener, make_context=context_of_two_fleets) as target:
        assert await admitted_to(target, OTHER) == strangers
    async with running(listener) as target:
        assert await admitted_to(target, OTHER) == strangers


@pytest.mark.parametrize("role", [Role.NODE, Role.RELAY])
@pytest.mark.red_inside
def test_a05_server_of_another_fleet_is_not_believed_even_under_our_names(role: Role) -> None:
    evil = OTHER.unconstrained()
    name = HOME.identity(role).dns_name
    server = server_context(evil.forge(HOME.identity(role)), trust=evil.trust, policy=CONTROL)
    dialler = client_context(trust=HOME.trust, credentials=evil.member(Role.CONTROLLER))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, dialler, server_hostname=name)
    # Red: TLS believes the other authority too, and then the leaf says what we want to hear.
    dialler.load_verify_locations(cadata=der(evil.trust.fleet_ca))
    near, _ = shake_hands(server, dialler, server_hostname=name)
    leaf = near.getpeercert(binary_form=True)
    assert leaf is not None
    with pytest.raises(PeerRejectedError, match="does not verify"):
        authorize_peer(leaf, trust=HOME.trust, roles={role}, peer_id="one", now=utc_now())

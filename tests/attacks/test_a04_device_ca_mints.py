"""Row 4. Position: the Device CA's key. Wants: to make a node, a relay or a controller.

Countermeasure: a listener's only anchor is the one authority of its roles, never the root; the Device CA's own usage
is clientAuth, and both verifiers hold leaves to it; path length 0 keeps it from making authorities.
"""

import ssl

import pytest

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import Authority, Role
from pharos.wire.pki.secretfd import load_key_pair
from pharos.wire.pki.tls import client_context
from tests.wire.pki import test_verify as verify
from tests.wire.pki.test_matrix import HOME, LISTENERS, Listener, admit_everybody, gets_in, proper_context, running

CONTROL = next(listener for listener in LISTENERS if listener.name == "buoy-control")


def context_anchored_at_the_root(listener: Listener) -> ssl.SSLContext:
    """Weakened: whoever chains to the root is believed."""
    context = proper_context(listener)
    context.load_verify_locations(cadata=der(HOME.trust.root))
    return context


@pytest.mark.red_inside
async def test_a04_minted_controller_drives_no_buoy() -> None:
    minted = HOME.forge(HOME.identity(Role.CONTROLLER), authority=Authority.DEVICE)
    dialler = client_context(trust=HOME.trust)
    load_key_pair(dialler, (minted.certificate, HOME.trust.anchor(Authority.DEVICE)), minted.key)
    # Red: the root is an anchor, and nobody asks further.
    async with running(CONTROL, admit=admit_everybody, make_context=context_anchored_at_the_root) as target:
        assert await gets_in(target, dialler)
    # The second half alone, and the listener as it is.
    async with running(CONTROL, make_context=context_anchored_at_the_root) as target:
        assert not await gets_in(target, dialler)
    async with running(CONTROL) as target:
        assert not await gets_in(target, dialler)


@pytest.mark.parametrize("role", [Role.NODE, Role.RELAY, Role.CONTROLLER])
def test_a04_minted_member_of_the_fleet_ca_is_nobody(role: Role) -> None:
    leaf = HOME.forge(HOME.identity(role), authority=Authority.DEVICE).certificate
    with pytest.raises(PeerRejectedError, match="does not verify"):
        verify.authorize(leaf)


@pytest.mark.red_inside
def test_a04_device_ca_makes_no_server_even_where_it_is_believed() -> None:
    # Red inside: where it stands for the Fleet CA, its controller passes.
    verify.test_device_ca_vouches_for_no_server_even_as_an_anchor()


def test_a04_root_is_no_anchor_of_leaves() -> None:
    verify.test_root_vouches_for_no_leaf()

"""Row 1. Position: a stolen beacon, or another member's certificate. Wants: to drive a buoy, to speak where it may not.

Countermeasure: each listener names its roles; TLS wants exactly the usage, `admit_peer` exactly the role.
"""

import attrs
import pytest

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import CONTROL, TUNNEL, ListenerPolicy, Role
from pharos.wire.pki.verify import admit_peer
from tests.support.pki import utc_now
from tests.wire.pki.test_matrix import (
    HOME,
    Listener,
    admit_everybody,
    admitted_to,
    context_with_every_anchor,
    everywhere,
    running,
)


@everywhere
async def test_a01_every_role_at_every_listener(listener: Listener) -> None:
    # Red: no role check, and a TLS that believes both authorities.
    async with running(listener, admit=admit_everybody, make_context=context_with_every_anchor) as weakened:
        assert await admitted_to(weakened) > listener.admitted
    async with running(listener) as target:
        assert await admitted_to(target) == listener.admitted


@pytest.mark.parametrize("policy", [CONTROL, TUNNEL], ids=lambda policy: policy.name)
def test_a01_beacon_does_not_pass_for_the_controller(policy: ListenerPolicy) -> None:
    """TLS refuses it for its usage; this is the other half, with no TLS before it."""
    leaf, now = der(HOME.member(Role.RELAY).certificate), utc_now()
    # Red: the roles are not looked at.
    weakened = attrs.evolve(policy, roles=frozenset(Role))
    assert admit_peer(weakened, leaf, trust=HOME.trust, now=now) == HOME.identity(Role.RELAY)
    with pytest.raises(PeerRejectedError, match="no business"):
        admit_peer(policy, leaf, trust=HOME.trust, now=now)

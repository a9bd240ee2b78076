"""Row 1. Position: a stolen beacon, or another member's certificate. Wants: to drive a buoy, to speak where it may not.

Countermeasure: each listener names its roles; TLS wants exactly the usage, `admit_peer` exactly the role.
"""

import ssl
from pathlib import Path

import attrs
import pytest

from pharos.helm.web import tls as web
from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import CONTROL, TUNNEL, Authority, ListenerPolicy, Role
from pharos.wire.pki.tls import Credentials, server_context
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import admit_peer
from tests.support.helm import SampleHelm, open_helm
from tests.support.pki import utc_now
from tests.support.webtls import TlsEdge, browser_context, gets_in, member_of, serving_tls
from tests.wire.pki.test_matrix import (
    HOME,
    PEERS,
    Listener,
    admit_everybody,
    admitted_to,
    context_with_every_anchor,
    everywhere,
    running,
)


@everywhere
@pytest.mark.red_inside
async def test_a01_every_role_at_every_listener(listener: Listener) -> None:
    # Red: no role check, and a TLS that believes both authorities.
    async with running(listener, admit=admit_everybody, make_context=context_with_every_anchor) as weakened:
        assert await admitted_to(weakened) > listener.admitted
    async with running(listener) as target:
        assert await admitted_to(target) == listener.admitted


@pytest.mark.parametrize("policy", [CONTROL, TUNNEL], ids=lambda policy: policy.name)
@pytest.mark.red_inside
def test_a01_beacon_does_not_pass_for_the_controller(policy: ListenerPolicy) -> None:
    """TLS refuses it for its usage; this is the other half, with no TLS before it."""
    leaf, now = der(HOME.member(Role.RELAY).certificate), utc_now()
    # Red: the roles are not looked at.
    weakened = attrs.evolve(policy, roles=frozenset(Role))
    assert admit_peer(weakened, leaf, trust=HOME.trust, now=now) == HOME.identity(Role.RELAY)
    with pytest.raises(PeerRejectedError, match="no business"):
        admit_peer(policy, leaf, trust=HOME.trust, now=now)


@pytest.mark.red_inside
async def test_a01_every_role_at_helms_own_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The column "helm web with `web.tls`" once more, at the page as helm serves it: no octet of HTTP to others."""
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        assert await let_in(helm, edge) == {Role.ADMIN}
        # Red: no role check; then a TLS that believes both authorities, too.
        identity = helm.authority.identity
        monkeypatch.setattr(web, "admit_peer", lambda *_args, **_named: identity)
        assert await let_in(helm, edge) == {Role.ADMIN, Role.DEVICE}
        monkeypatch.setattr(web, "server_context", believing_both)
        edge.gate._made = None
        assert await let_in(helm, edge) == {Role.ADMIN, Role.DEVICE, Role.CONTROLLER}


async def let_in(helm: SampleHelm, edge: TlsEdge) -> set[Role | None]:
    members = {role: None if role is None else member_of(helm, role) for role in PEERS}
    return {role for role, member in members.items() if await gets_in(edge.port, browser_context(edge.shows, member))}


def believing_both(credentials: Credentials, *, trust: Trust, policy: ListenerPolicy) -> ssl.SSLContext:
    context = server_context(credentials, trust=trust, policy=policy)
    for authority in Authority:
        context.load_verify_locations(cadata=der(trust.anchor(authority)))
    return context

"""Row 3. Position: a stolen node's certificate. Wants: to be taken for another node, for a beacon, or for helm.

Countermeasure: whoever dials names the id and the role that it wants, in SNI and to `authorize_peer`; a node's
certificate is for TLS servers only.
"""

import ssl
from pathlib import Path
from typing import Any

import attrs
import pytest

from pharos.helm.fleet import dial as dialling
from pharos.wire.errors import LinkRefusedError, PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.rpc.transport import SecureStream, SslStream, TlsStream
from tests.helm.fleet.test_link import meets, paired
from tests.support.helm import adopt_sample_node
from tests.support.pki import utc_now
from tests.wire.pki import test_matrix as matrix
from tests.wire.pki import test_tls as tls

HOME = matrix.HOME


@pytest.mark.parametrize("transport", [TlsStream, SslStream])
@pytest.mark.red_inside
async def test_a03_node_is_not_the_node_that_was_dialled(transport: type[SecureStream]) -> None:
    # Red inside: without the name in TLS, and without the id in `authorize_peer`, it is.
    await matrix.test_node_cannot_stand_in_for_another(transport)


def test_a03_node_is_no_client_at_all() -> None:
    tls.test_relays_and_nodes_are_no_tls_clients()


@pytest.mark.parametrize("wanted", [Role.RELAY, Role.CONTROLLER])
@pytest.mark.red_inside
def test_a03_node_is_neither_beacon_nor_helm(wanted: Role) -> None:
    leaf = der(HOME.member(Role.NODE).certificate)
    # Red: any role will do.
    identity = authorize_peer(leaf, trust=HOME.trust, roles=set(Role), peer_id="one", now=utc_now())
    assert identity.role is Role.NODE
    with pytest.raises(PeerRejectedError, match="no business"):
        authorize_peer(leaf, trust=HOME.trust, roles={wanted}, peer_id="one", now=utc_now())


def ask_for_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: helm's TLS compares no names."""
    proper = dialling._context

    def context(*arguments: Any) -> ssl.SSLContext:
        made = proper.__wrapped__(*arguments)
        made.check_hostname = False
        return made

    monkeypatch.setattr(dialling, "_context", context)


def ask_for_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: any node will do."""

    def authorize(leaf: bytes, **expected: Any) -> Any:
        return authorize_peer(leaf, **(expected | {"peer_id": None}))

    monkeypatch.setattr(dialling, "authorize_peer", authorize)


@pytest.mark.red_inside
async def test_a03_helm_is_not_content_with_another_node_at_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it dials, over sockets: another node of the same fleet has taken the address. Either check alone holds."""
    async with paired(tmp_path) as pair:
        berlin, _ = await pair.helm.store.run(adopt_sample_node, pair.helm.authority, "berlin")
        there = attrs.evolve(berlin, address=pair.node.address, control_port=pair.node.control_port)

        async def refused() -> None:
            with meets(LinkRefusedError):
                async with pair.links.dial(there):
                    pass

        await refused()
        for weaken in (ask_for_no_name, ask_for_no_id):
            with monkeypatch.context() as patch:
                weaken(patch)
                await refused()
        # Red: with neither, helm speaks to the one as if it were the other.
        ask_for_no_name(monkeypatch)
        ask_for_no_id(monkeypatch)
        async with pair.links.dial(there):
            pass

"""Row 3. Position: a stolen node's certificate. Wants: to be taken for another node, for a beacon, or for helm.

Countermeasure: whoever dials names the id and the role that it wants, in SNI and to `authorize_peer`; a node's
certificate is for TLS servers only.
"""

import pytest

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.rpc.transport import SecureStream, SslStream, TlsStream
from tests.support.pki import utc_now
from tests.wire.pki import test_matrix as matrix
from tests.wire.pki import test_tls as tls

HOME = matrix.HOME


@pytest.mark.parametrize("transport", [TlsStream, SslStream])
async def test_a03_node_is_not_the_node_that_was_dialled(transport: type[SecureStream]) -> None:
    # Red inside: without the name in TLS, and without the id in `authorize_peer`, it is.
    await matrix.test_node_cannot_stand_in_for_another(transport)


def test_a03_node_is_no_client_at_all() -> None:
    tls.test_relays_and_nodes_are_no_tls_clients()


@pytest.mark.parametrize("wanted", [Role.RELAY, Role.CONTROLLER])
def test_a03_node_is_neither_beacon_nor_helm(wanted: Role) -> None:
    leaf = der(HOME.member(Role.NODE).certificate)
    # Red: any role will do.
    identity = authorize_peer(leaf, trust=HOME.trust, roles=set(Role), peer_id="one", now=utc_now())
    assert identity.role is Role.NODE
    with pytest.raises(PeerRejectedError, match="no business"):
        authorize_peer(leaf, trust=HOME.trust, roles={wanted}, peer_id="one", now=utc_now())

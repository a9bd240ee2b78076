"""Row 2. Position: an enrolled device. Wants: a buoy's control port or a beacon's tunnel port.

Countermeasure: these ports believe the Fleet CA only, which vouches for no device, and check the role besides.
"""

import pytest

from pharos.wire.pki.roles import Role
from tests.wire.pki.test_matrix import (
    HOME,
    LISTENERS,
    Listener,
    admit_everybody,
    context_with_every_anchor,
    gets_in,
    peer_context,
    running,
)

FOR_HELM = [listener for listener in LISTENERS if listener.admitted == {Role.CONTROLLER}]


@pytest.mark.parametrize("listener", FOR_HELM, ids=lambda listener: listener.name)
@pytest.mark.red_inside
async def test_a02_device_reaches_no_port_of_helms(listener: Listener) -> None:
    device = peer_context(listener, HOME, Role.DEVICE)
    # Red: both halves gone. Then either half alone, then the listener as it is.
    async with running(listener, admit=admit_everybody, make_context=context_with_every_anchor) as target:
        assert await gets_in(target, device)
    async with running(listener, make_context=context_with_every_anchor) as target:
        assert not await gets_in(target, device)
    async with running(listener, admit=admit_everybody) as target:
        assert not await gets_in(target, device)
    async with running(listener) as target:
        assert not await gets_in(target, device)

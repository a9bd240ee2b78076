"""What the root helper looks at once more before it acts, though the act itself is well formed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.buoy.netpolicy import NetworkKeeper
from pharos.buoy.roothelper.acts import Applied, ApplyNetwork
from pharos.buoy.roothelper.errors import ActRefusedError
from pharos.buoy.roothelper.perform import Performer
from pharos.wire.netpolicy import NetworkPlan

SERVER, SOMEBODY = 991, 1000


async def test_only_a_server_of_reality_is_confined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that was taken over would else cut the machine's other users off."""
    kept: list[NetworkPlan] = []

    async def keep(_keeper: NetworkKeeper, plan: NetworkPlan) -> tuple[str, ...]:
        kept.append(plan)
        return ()

    monkeypatch.setattr(NetworkKeeper, "apply", keep)
    keeper = NetworkKeeper(tmp_path / "state")
    plan = NetworkPlan(interfaces=("awg0",), confined=(SERVER, SOMEBODY))
    with pytest.raises(ActRefusedError, match="uid 1000 serves no REALITY"):
        await Performer(keeper, owners=lambda: {SERVER}).perform(ApplyNetwork(plan))
    assert kept == []
    # Red: where anybody may be confined, somebody is.
    assert await Performer(keeper, owners=lambda: {SERVER, SOMEBODY}).perform(ApplyNetwork(plan)) == Applied()
    assert kept == [plan]

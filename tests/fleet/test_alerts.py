"""A node falls, somebody is told; it is back, and somebody is told that too."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.helm.alerts import conditions, deliver, queue, watch
from pharos.helm.fleet import reach
from tests.support.fleet import running_fleet
from tests.support.webhook import running_webhook


@pytest.mark.journey
async def test_webhook_hears_of_a_node_that_falls_and_of_its_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "HEARTBEAT", 0.3)
    monkeypatch.setattr(reach, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(queue, "GATHER", 100_000)
    monkeypatch.setattr(deliver, "BETWEEN_LOOKS", 0.1)
    monkeypatch.setitem(conditions.SETTLE, "unreachable", 0.3)  # type: ignore[arg-type]
    async with running_webhook() as hook, running_fleet(tmp_path, reality=False) as fleet:
        body = {"name": "ops", "url": hook.url, "kinds": ["unreachable"]}
        await fleet.ask("POST", "/api/v1/alert-targets", body)
        await fleet.buoys["a"].stop()
        await hook.wait(lambda: len(hook.received) == 1)
        assert hook.received[0]["title"].startswith("Pharos: critical: node a does not answer")
        (alert,) = (await fleet.ask("GET", "/api/v1/alerts?kind=unreachable"))["items"]
        assert alert["state"] == "open"
        await fleet.buoys["a"].start()
        await hook.wait(lambda: len(hook.received) == 2)
        assert hook.received[1]["title"].startswith("Pharos: resolved: node a")
        assert (await fleet.ask("GET", f"/api/v1/alerts/{alert['id']}"))["state"] == "resolved"

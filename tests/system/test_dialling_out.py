"""helm sits behind a NAT and reaches everybody; nobody has to reach helm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.lab.fleet import running_fleet

pytestmark = pytest.mark.system

ECHOES = 20


@pytest.mark.parametrize("family", [4, 6])
async def test_fleet_settles_and_a_device_gets_through(tmp_path: Path, family: int) -> None:
    async with running_fleet(tmp_path, family=family) as fleet:
        joined = await fleet.enrol("clienta")
        assert joined["nodes"] == ["buoya"]
        await fleet.wait_settled(peers=1)
        findings = await fleet.caravel("clienta", "doctor", "--count", str(ECHOES))
        told = {finding["id"]: finding for finding in findings["findings"]}
        assert told["helm"]["level"] == "ok"
        assert told["node:buoya:amneziawg"]["says"].startswith(f"{ECHOES} of {ECHOES} echoes"), findings


@pytest.mark.parametrize("family", [4, 6])
async def test_links_come_from_helms_side_of_the_nat(tmp_path: Path, family: int) -> None:
    async with running_fleet(tmp_path, family=family) as fleet:
        # IPv4 is translated; IPv6 is not, so that everybody helm dials knows where it is.
        comes_from = fleet.lab.host("nat").address4 if family == 4 else fleet.lab.host("helm").address6
        for host, port in (("buoya", 7443), ("beacon", 7444)):
            sockets = await fleet.lab.sockets(host)
            assert [s.remote for s in sockets if (s.state, s.port) == ("ESTAB", port)] == [comes_from]

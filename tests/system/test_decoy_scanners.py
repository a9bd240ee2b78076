"""nghttp2's client and testssl.sh against a beacon's ports, as strangers: they find an ordinary HTTPS site.

They know nothing of us, so what they report is what anybody can learn who does not know the relay's name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.support.decoy import whole_beacon
from tests.support.peers import needed
from tests.support.rpc import HOST

pytestmark = pytest.mark.system

SCAN_PATIENCE: Final = 240.0
"""One scan takes some 20 s, and three times that on a busy machine."""
# What testssl.sh finds at MEDIUM or above, and why it is so.
EXPLAINED: Final = {
    "cert_chain_of_trust": "without a setting the certificate is self-signed",
    "cert_trust": "and it is for localhost",
    "cert_revocation": "nobody can revoke that one",
    "cipher_order": "the client chooses, as with most web servers",
}
GRAVE: Final = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}


@pytest.mark.row(75)
@pytest.mark.parametrize("port", ["ingress", "tunnel"])
async def test_nghttp_reads_the_site(tmp_path: Path, port: str) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        url = f"https://{HOST}:{getattr(beacon, port)}"
        done = await trio.run_process([needed("nghttp"), "-v", f"{url}/", f"{url}/no"], capture_stdout=True)
    for said in (b":status: 200", b":status: 404", b"server: nginx", b"<h1>Welcome</h1>"):
        assert said in done.stdout
    # Neither side had to end a stream, or the connection, for an error.
    assert b"RST_STREAM" not in done.stdout
    assert b"error_code=NO_ERROR" in done.stdout
    assert done.stdout.count(b"error_code=") == 1


@pytest.mark.row(75)
async def test_testssl_finds_a_web_server_in_order(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    async with whole_beacon(tmp_path / "s") as beacon:
        command = [needed("testssl"), "--quiet", "--color", "0", "--warnings", "off", "--jsonfile", str(report)]
        command += ["--nodns", "none", "--ip", HOST, "--fast", "--connect-timeout", "5", "--openssl-timeout", "5"]
        command += ["--protocols", "--std", "--fs", "--server-defaults", "--vulnerable"]
        command += [f"https://example.org:{beacon.ingress}/"]
        with trio.move_on_after(SCAN_PATIENCE) as patience:
            await trio.run_process(command, stdin=b"", capture_stdout=True, check=False, cwd=tmp_path)
        assert not patience.cancelled_caught
    findings = {finding["id"]: finding for finding in json.loads(report.read_text())}
    offered = {
        key
        for key in ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3")
        if "not offered" not in findings[key]["finding"]
    }
    assert offered == {"TLS1_2", "TLS1_3"}
    grave = {key: finding["finding"] for key, finding in findings.items() if finding["severity"] in GRAVE}
    assert not {key: text for key, text in grave.items() if key not in EXPLAINED}
    assert {"heartbleed", "ROBOT", "LUCKY13", "RC4", "cert_chain_of_trust"} <= findings.keys()

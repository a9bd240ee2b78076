"""Row 75. Position: anybody who scans the Internet. Wants: a list of relays, by what their ports say to strangers.

Countermeasure: who does not ask for the relay by its own name is shown an ordinary HTTPS site, on the tunnel's port as
on the clients': other certificate, no request for one, other versions of TLS. What the relay is shows only to whoever
knows its name, and to whoever looks closely at how the site is served (docs/guide/beacons.md).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio

from pharos.wire.pki.roles import Role
from tests.support.decoy import OWN_NAME, ask, visit, whole_beacon
from tests.support.peers import needed
from tests.support.pki import home_fleet
from tests.support.rpc import HOST

REQUEST = b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"
FLEET = home_fleet().id.encode()
TELLTALE = (FLEET, b"pharos", b"spiffe", b".internal", b"grpc")
# What a scanner tries: no name, the address, names that a list of fleets would hold.
NAMES = [None, "example.org", "localhost", f"gate.n.{home_fleet().id}.internal", f"other.r.{home_fleet().id}.internal"]


def without_the_decoy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: every name is the relay's own."""

    async def own_name(_tcp: object) -> str:
        return OWN_NAME

    monkeypatch.setattr("pharos.beacon.decoy.door._asked_for", own_name)


async def certificate_for(port: int, name: str | None) -> bytes:
    stream = await visit(port, "h2", "http/1.1", name=name)
    der: bytes | None = stream.getpeercert(binary_form=True)
    await trio.aclose_forcefully(stream)
    assert der is not None
    return der


@pytest.mark.red_inside
async def test_a75_certificate_says_nothing_of_the_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with whole_beacon(tmp_path / "s", ingress_ports=(0,)) as beacon:
        ports = (beacon.ingress, beacon.addresses.more_ingress[0][1], beacon.tunnel)
        for port in ports:
            for name in NAMES:
                der = (await certificate_for(port, name)).lower()
                assert not any(word in der for word in TELLTALE)
                said = (await ask(port, REQUEST, name=name)).lower()
                assert said.startswith(b"http/1.1 200 ok")
                assert not any(word in said for word in TELLTALE)
        # Whoever has read the name on the wire sees the relay, and each port has the same stranger's face.
        assert FLEET in await certificate_for(beacon.ingress, OWN_NAME)
        assert len({await certificate_for(port, "example.org") for port in ports}) == 1
        without_the_decoy(monkeypatch)
        assert FLEET in await certificate_for(beacon.ingress, "example.org")


async def handshake_seen_by_openssl(port: int, name: str, *more: str) -> bytes:
    command = [needed("openssl"), "s_client", "-msg", "-connect", f"{HOST}:{port}", "-servername", name, *more]
    done = await trio.run_process(
        [*command, "-alpn", "h2"], stdin=b"", capture_stdout=True, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout


@pytest.mark.parametrize("port", ["ingress", "tunnel"])
@pytest.mark.red_inside
async def test_a75_nobody_is_asked_for_a_certificate(
    tmp_path: Path, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        number = getattr(beacon, port)
        for version in ("-tls1_2", "-tls1_3"):
            seen = await handshake_seen_by_openssl(number, "example.org", version)
            assert b", Finished" in seen
            assert b"CertificateRequest" not in seen
        assert b"CertificateRequest" in await handshake_seen_by_openssl(number, OWN_NAME)
        without_the_decoy(monkeypatch)
        assert b"CertificateRequest" in await handshake_seen_by_openssl(number, "example.org")


async def test_a75_site_is_no_way_into_the_fleet(tmp_path: Path) -> None:
    """A member's certificate is worth nothing there, and the relay's services are pages that are not found."""
    async with whole_beacon(tmp_path / "s") as beacon:
        await beacon.come_as_helm()
        for path in (b"/pharos.relay.v1.Passage/Open", b"/grpc.health.v1.Health/Check"):
            request = REQUEST.replace(b"GET / ", b"GET " + path + b" ")
            assert (await ask(beacon.ingress, request)).startswith(b"HTTP/1.1 404 ")
            assert (await ask(beacon.ingress, request.replace(b"GET", b"POST"))).startswith(b"HTTP/1.1 405 ")
        # And the other way: the relay serves no pages.
        connection = await beacon.dial(beacon.ingress, Role.DEVICE)
        stream = connection.create_stream()
        await stream.send_request(
            [(":method", "GET"), (":scheme", "https"), (":authority", "example.org"), (":path", "/")], end_stream=True
        )
        fields = dict(await stream.recv_headers())
        assert ("server" in fields, fields["grpc-status"]) == (False, "12")
        stream.close()

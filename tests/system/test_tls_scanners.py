"""OpenSSL's and GnuTLS's clients, and testssl.sh, against every TLS listener (security.md row 13).

They know nothing of us: what they negotiate, and what they are refused, is what a stranger can see of the listeners.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from pharos.wire.pki.roles import INGRESS, Role
from tests.support.helm import open_helm
from tests.support.http import LOOPBACK
from tests.support.listeners import KINDS, Listener, running_listener
from tests.support.peers import Files, needed, write_certificates, write_credentials
from tests.support.pki import home_fleet, other_fleet
from tests.support.webtls import serving_tls

PATIENCE: Final = 10.0
SCAN_PATIENCE: Final = 180.0
"""One scan takes some 20 s."""

everywhere = pytest.mark.parametrize("name", [kind.name for kind in KINDS])
CLIENTS: Final = ("openssl", "gnutls-cli")
with_each_client = pytest.mark.parametrize("program", CLIENTS)

SUITES: Final = {
    "TLS_AES_256_GCM_SHA384": True,
    "TLS_CHACHA20_POLY1305_SHA256": True,
    "TLS_AES_128_GCM_SHA256": True,
    "TLS_AES_128_CCM_SHA256": False,
    "TLS_AES_128_CCM_8_SHA256": False,
}
# With ffdhe8192 a stranger's hello of 1 KiB costs our only thread 180 ms (CVE-2002-20001).
GROUPS: Final = {
    "X25519": False,
    "P-256": True,
    "P-384": False,
    "P-521": False,
    "X448": False,
    "ffdhe2048": False,
    "ffdhe8192": False,
}

# How often openssl comes back with the session it has.
RECONNECTS: Final = 5

# Our first octets on a connection: a server's SETTINGS, or a client's preface (RFC 9113 §3.4).
FIRST_OCTETS: Final = re.compile(rb"PRI \* HTTP/2\.0|\0\0.\x04\0\0\0\0\0", re.DOTALL)

# What testssl.sh finds at MEDIUM or above, and why it is so.
EXPLAINED: Final = {
    "cert_chain_of_trust": "the root is the fleet's own, and members are configured with it",
    "cert_revocation": "revocation is by the signed deny list, which every listener has; no CRL, no OCSP",
}
GRAVE: Final = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}


@attrs.frozen(kw_only=True)
class Ground:
    """A listener, and what the programs need of certificates."""

    listener: Listener
    anchors: Path
    member: Files
    stranger: Files
    """Of the same role, and of another fleet."""

    def command(
        self, program: str, *more: str, show: Files | None = None, alpn: str | None = "h2", old: bool = False
    ) -> list[str]:
        """How the program is called: showing a certificate or none, offering ALPN or none, TLS 1.3 or only 1.2."""
        host, port = self.listener.address
        if program == "openssl":
            command = [needed(program), "s_client", "-connect", f"{host}:{port}", "-servername", self.listener.hostname]
            command += ["-CAfile", str(self.anchors), "-verify_return_error", "-tls1_2" if old else "-tls1_3"]
            command += [] if alpn is None else ["-alpn", alpn]
            command += [] if show is None else ["-cert", str(show.certificate), "-key", str(show.key)]
        else:
            command = [needed(program), "--port", str(port), "--x509cafile", str(self.anchors)]
            command += ["--sni-hostname", self.listener.hostname, "--verify-hostname", self.listener.hostname]
            command += ["--priority", "NORMAL:-VERS-TLS1.3" if old else "NORMAL"]
            command += [] if alpn is None else ["--alpn", alpn]
            command += [] if show is None else ["--x509certfile", str(show.certificate), "--x509keyfile", str(show.key)]
            command += [host]
        return [*command, *more]

    async def dial(
        self, program: str, *more: str, show: Files | None = None, alpn: str | None = "h2", old: bool = False
    ) -> bytes:
        """Let the program connect; return what it wrote when we have spoken HTTP/2 to it, or it has ended."""
        return await heard(self.command(program, *more, show=show, alpn=alpn, old=old))


async def heard(command: list[str]) -> bytes:
    """Run a client until our first octets are among its output, or to its end."""
    output = bytearray()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:

            async def collect(source: trio.abc.ReceiveStream | None) -> None:
                assert source is not None
                async for data in source:
                    output.extend(data)
                    if FIRST_OCTETS.search(output):
                        process.terminate()

            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            try:
                await collect(process.stdout)
                await process.wait()
            finally:
                process.kill()
                nursery.cancel_scope.cancel()
    return bytes(output)


@asynccontextmanager
async def ground(name: str, folder: Path) -> AsyncIterator[Ground]:
    async with running_listener(name, folder) as listener:
        home, role = home_fleet(), listener.kind.welcome
        yield Ground(
            listener=listener,
            anchors=write_certificates(folder / "anchors.pem", home.trust.root, home.trust.fleet_ca),
            member=write_credentials(folder, "member", home.member(role)),
            stranger=write_credentials(folder, "stranger", other_fleet().member(role)),
        )


# -- what comes about, and what does not


@with_each_client
@everywhere
async def test_member_gets_tls_1_3_and_h2(name: str, program: str, tmp_path: Path) -> None:
    async with ground(name, tmp_path) as here:
        output = await here.dial(program, show=here.member)
    assert FIRST_OCTETS.search(output), output
    if program == "openssl":
        wanted = (b"New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384", b"ALPN protocol: h2", b"Verification: OK")
    else:
        wanted = (b"(TLS1.3-X.509)", b"Application protocol: h2", b"The certificate is trusted.")
    assert not [text for text in wanted if text not in output], output


@pytest.mark.row(1, 13)
@with_each_client
@everywhere
async def test_others_are_refused_before_we_say_a_word(name: str, program: str, tmp_path: Path) -> None:
    async with ground(name, tmp_path) as here:
        attempts = {
            "another fleet's certificate": await here.dial(program, show=here.stranger),
            "TLS 1.2": await here.dial(program, show=here.member, old=True),
            "no ALPN": await here.dial(program, show=here.member, alpn=None),
            "HTTP/1.1": await here.dial(program, show=here.member, alpn="http/1.1"),
        }
        nobody = await here.dial(program)
    assert not {attempt: output for attempt, output in attempts.items() if FIRST_OCTETS.search(output)}
    # The ingress alone is open to those who have no certificate yet.
    assert bool(FIRST_OCTETS.search(nobody)) is (here.listener.kind.policy is INGRESS), nobody


@pytest.mark.row(11)
@everywhere
async def test_no_session_can_be_resumed(name: str, tmp_path: Path) -> None:
    kept = tmp_path / "session.pem"
    async with ground(name, tmp_path) as here:
        # Our first octets come behind the tickets, if there were any.
        output = await here.dial("openssl", "-sess_out", str(kept), show=here.member)
        again = await here.dial("openssl", "-reconnect", show=here.member)
    assert FIRST_OCTETS.search(output)
    assert b"New Session Ticket" not in output + again
    assert again.count(b"New, TLSv1.3") == 1 + RECONNECTS
    assert b"Reused, " not in again
    assert not kept.exists() or not kept.read_bytes()


async def accepted(here: Ground, option: str, values: Iterable[str]) -> dict[str, bool]:
    return {
        value: bool(FIRST_OCTETS.search(await here.dial("openssl", option, value, show=here.member)))
        for value in values
    }


@pytest.mark.row(13)
@everywhere
async def test_only_these_cipher_suites_and_groups_come_about(name: str, tmp_path: Path) -> None:
    async with ground(name, tmp_path) as here:
        assert await accepted(here, "-ciphersuites", SUITES) == SUITES
        assert await accepted(here, "-groups", GROUPS) == GROUPS


# -- a scanner


Findings = dict[str, dict[str, str]]
WHOLE: Final = ("--protocols", "--std", "--fs", "--server-defaults", "--vulnerable")
OLD: Final = ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2")


async def scan(hostname: str, address: tuple[str, int], folder: Path, *sections: str) -> Findings:
    """Return what testssl.sh reports of a port, by the ids of its findings."""
    report, (host, port) = folder / "report.json", address
    command = [needed("testssl"), "--quiet", "--color", "0", "--warnings", "off", "--jsonfile", str(report)]
    # Offline, and without what takes minutes: one cipher after the other, simulated browsers, odd hosts.
    command += ["--nodns", "none", "--ip", host, "--fast", "--connect-timeout", "5", "--openssl-timeout", "5"]
    command += [*sections, f"https://{hostname}:{port}/"]
    with trio.fail_after(SCAN_PATIENCE):
        await trio.run_process(command, stdin=b"", capture_stdout=True, check=False, cwd=folder)
    return {finding["id"]: finding for finding in json.loads(report.read_text())}


def offered_of_old(findings: Findings) -> set[str]:
    return {key for key in OLD if "not offered" not in findings[key]["finding"]}


def grave_of(findings: Findings) -> dict[str, str]:
    grave = {key: finding["finding"] for key, finding in findings.items() if finding["severity"] in GRAVE}
    return {key: text for key, text in grave.items() if key not in EXPLAINED}


def assert_in_order(findings: Findings) -> None:
    assert not offered_of_old(findings)
    assert findings["TLS1_3"]["severity"] == "OK"
    assert not grave_of(findings)
    # It is the whole report: a scan that broke off finds nothing, either.
    assert {"heartbleed", "ROBOT", "LUCKY13", "RC4", "cert_chain_of_trust"} <= findings.keys()


@pytest.mark.system
@pytest.mark.row(13)
@everywhere
async def test_scanner_finds_nothing_that_is_not_explained(name: str, tmp_path: Path) -> None:
    async with ground(name, tmp_path) as here:
        assert_in_order(await scan(here.listener.hostname, here.listener.address, tmp_path, *WHOLE))


@pytest.mark.system
async def test_a13_scanner_finds_nothing_at_helms_page(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        assert_in_order(await scan("localhost", (LOOPBACK, edge.port), tmp_path, *WHOLE))


@pytest.mark.system
async def test_a13_scanner_turns_red_where_old_tls_is_offered(tmp_path: Path) -> None:
    """The same certificate behind a context of Python's own, which begins at TLS 1.2 and wants nobody's."""
    identity = home_fleet().identity(Role.NODE)
    shown = write_credentials(tmp_path, "shown", home_fleet().member(Role.NODE))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown.certificate, shown.key)
    context.set_ecdh_curve("prime256v1")

    async def hang_up(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        serve = functools.partial(trio.serve_ssl_over_tcp, hang_up, 0, context, host=LOOPBACK)
        (listener,) = await nursery.start(serve)
        port = listener.transport_listener.socket.getsockname()[1]
        assert offered_of_old(await scan(identity.dns_name or "", (LOOPBACK, port), tmp_path, "--protocols")) == {
            "TLS1_2"
        }
        nursery.cancel_scope.cancel()

"""nghttp2's own clients as peers: h2load for many requests on many streams, nghttp for a certificate."""

from __future__ import annotations

import functools
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from pharos.wire.rpc.admission import Bounds
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, serve_tls
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.peers import needed
from tests.support.rpc import HOST, SERVER_NAME, EchoService, ThrowawayCa, frame

pytestmark = pytest.mark.system

PATIENCE: Final = 120.0
PATH: Final = "/pharos_test.v1.Echo/Echo"
FIELDS: Final = ("-H", "content-type: application/grpc", "-H", "te: trailers")


@asynccontextmanager
async def serving(ca: ThrowawayCa, service: EchoService, *, strangers: bool) -> AsyncIterator[str]:
    """Serve Echo; gives the URL of a call. h2load cannot show a certificate, so that one may come without."""
    context = ca.server_context(ca.issue(SERVER_NAME))
    if strangers:
        context.verify_mode = ssl.CERT_OPTIONAL
    served = Service([service])

    async def handle(stream: SecureStream) -> None:
        stream.admitted()
        await serve_connection(stream, served)

    async with trio.open_nursery() as nursery:
        # All of h2load's connections come from one address, at once.
        bounds = Bounds(pending_per_source=100)
        listen = functools.partial(serve_tls, handle, host=HOST, port=0, context=context, bounds=bounds)
        _, port = await nursery.start(listen)
        yield f"https://{HOST}:{port}{PATH}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("connections", "streams", "requests", "payload"),
    [(1, 1, 2_000, 100), (8, 100, 10_000, 100), (40, 4, 8_000, 1_000), (4, 20, 1_000, 200_000)],
    ids=["one by one", "many streams", "many connections", "large messages"],
)
async def test_no_request_of_h2load_fails(
    connections: int, streams: int, requests: int, payload: int, tmp_path: Path
) -> None:
    body = tmp_path / "body"
    body.write_bytes(frame(Ping(seq=1_000, payload=bytes(payload))))
    service = EchoService()
    async with serving(ThrowawayCa(), service, strangers=True) as url:
        command = [needed("h2load"), "-n", str(requests), "-c", str(connections), "-m", str(streams)]
        with trio.fail_after(PATIENCE):
            done = await trio.run_process([*command, "-d", str(body), *FIELDS, url], capture_stdout=True)
    report = done.stdout.decode()
    assert f"{requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout" in report, report
    assert f"status codes: {requests} 2xx" in report, report
    assert "Application protocol: h2" in report
    assert "TLSv1.3" in report
    assert len(service.metadata) == requests
    # What came back is what went out, and the prefix and trailers besides.
    received = re.search(r"\((\d+)\) data", report)
    assert received is not None, report
    assert int(received[1]) >= requests * payload


async def test_nghttp_calls_with_a_certificate_and_not_without(tmp_path: Path) -> None:
    ca, service = ThrowawayCa(), EchoService()
    pems = ca.issue("client.test")
    certificate, key, body = tmp_path / "client.pem", tmp_path / "client.key", tmp_path / "body"
    certificate.write_bytes(pems.certificate)
    key.write_bytes(pems.key)
    body.write_bytes(frame(Ping(seq=1_000, payload=bytes(100_000))))
    async with serving(ca, service, strangers=False) as url:
        command = [needed("nghttp"), "--verbose", "--null-out", "--no-dep", "-d", str(body), *FIELDS]
        with trio.fail_after(PATIENCE):
            shown = await trio.run_process(
                [*command, f"--cert={certificate}", f"--key={key}", url], capture_stdout=True, check=False
            )
            hidden = await trio.run_process([*command, url], capture_stdout=True, capture_stderr=True, check=False)
    assert b"grpc-status: 0" in shown.stdout, shown.stdout
    assert b"grpc-status" not in hidden.stdout
    assert [peer.certificate is not None for peer in service.peers] == [False]

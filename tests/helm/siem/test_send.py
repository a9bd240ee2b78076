"""Batches over real sockets and TLS: what counts as acknowledged, what does not, and what is never said."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from pharos.helm.errors import SinkError
from pharos.helm.model.sinks import Sink, SinkKind
from pharos.helm.siem import syslog
from pharos.helm.siem.records import Record
from pharos.helm.siem.send import LONGEST_WAIT, open_sender
from tests.support.sinks import FLEET, LOOPBACK, http_receiver, own_ca, sample, sink_of, syslog_receiver

SECRET = "s3cret-token"
HEADERS = {"Authorization": f"Bearer {SECRET}"}


async def send(sink: Sink, records: Sequence[Record], *, timeout: float = 5.0) -> str:
    async with open_sender(sink, HEADERS, FLEET, timeout=timeout) as sender:
        return await sender(records)


async def test_webhook_gets_one_document_over_tls_by_its_own_ca() -> None:
    authority = own_ca()
    async with http_receiver(tls=authority.server) as inbox:
        sink = sink_of(SinkKind.WEBHOOK, f"https://{LOOPBACK}:{inbox.port}/hook?a=b", ca=authority.pem)
        assert await send(sink, [sample(), sample(sequence=8)]) == ""
        (posted,) = inbox.items
    assert posted.path == "/hook?a=b"
    assert (posted.headers["authorization"], posted.headers["content-type"]) == (f"Bearer {SECRET}", "application/json")
    assert [record["sequence"] for record in json.loads(posted.body)["records"]] == [7, 8]


@pytest.mark.parametrize("pem", [None, own_ca("somebody else").pem], ids=["this machine's CAs", "another CA"])
async def test_receiver_of_another_ca_is_told_nothing(pem: str | None) -> None:
    authority = own_ca()
    async with http_receiver(tls=authority.server) as web, syslog_receiver(authority.server) as lines:
        for sink in (
            sink_of(SinkKind.WEBHOOK, f"https://{LOOPBACK}:{web.port}/", ca=pem),
            sink_of(SinkKind.SYSLOG, f"tls://{LOOPBACK}:{lines.port}", ca=pem),
        ):
            with pytest.raises(SinkError, match="CERTIFICATE_VERIFY_FAILED"):
                await send(sink, [sample()])
        assert web.items == lines.items == []


async def test_receiver_of_another_name_is_told_nothing() -> None:
    authority = own_ca()
    async with syslog_receiver(authority.server) as inbox:
        sink = sink_of(SinkKind.SYSLOG, f"tls://localhost:{inbox.port}", ca=authority.pem)
        with pytest.raises(SinkError, match="CERTIFICATE_VERIFY_FAILED"):
            await send(sink, [sample()])


async def test_collector_gets_protobuf_and_may_leave_some_out() -> None:
    answer = ExportLogsServiceResponse(partial_success=ExportLogsPartialSuccess(rejected_log_records=1))
    async with http_receiver(lambda _: (200, [], answer.SerializeToString())) as inbox:
        sink = sink_of(SinkKind.OTLP, f"http://{LOOPBACK}:{inbox.port}/v1/logs")
        assert await send(sink, [sample(), sample()]) == "the collector left out 1 of 2 records"
        (posted,) = inbox.items
    assert (posted.path, posted.headers["content-type"]) == ("/v1/logs", "application/x-protobuf")
    request = ExportLogsServiceRequest.FromString(posted.body)
    assert len(request.resource_logs[0].scope_logs[0].log_records) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 429, 500, 503])
async def test_status_that_is_no_success_is_no_acknowledgement(status: int) -> None:
    headers = [("retry-after", "7"), ("location", "http://127.0.0.1:1/elsewhere")]
    async with http_receiver(lambda _: (status, headers, b"a page of " + SECRET.encode())) as inbox:
        sink = sink_of(SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/path-{SECRET}")
        with pytest.raises(SinkError, match=f"it answered {status}") as caught:
            await send(sink, [sample()])
    assert (caught.value.smaller, caught.value.wait) == (status == 413, 7)
    # What it answers, where it is and what was sent along may all be secret.
    assert SECRET not in str(caught.value)
    assert len(inbox.items) == 1


async def test_receiver_may_not_silence_us_for_long() -> None:
    async with http_receiver(lambda _: (503, [("retry-after", "9" * 300)], b"")) as inbox:
        with pytest.raises(SinkError) as caught:
            await send(sink_of(SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/"), [sample()])
    assert caught.value.wait == LONGEST_WAIT


async def test_slow_receiver_is_asked_for_less() -> None:
    async with http_receiver(lambda _: None) as web, syslog_receiver(own_ca().server, ends=lambda _: "silent") as lines:
        for sink in (
            sink_of(SinkKind.WEBHOOK, f"http://{LOOPBACK}:{web.port}/"),
            sink_of(SinkKind.SYSLOG, f"tls://{LOOPBACK}:{lines.port}", ca=own_ca().pem),
        ):
            with pytest.raises(SinkError, match="no acknowledgement") as caught:
                await send(sink, [sample()], timeout=0.3)
            assert caught.value.smaller


async def test_endless_answer_is_not_read_to_its_end() -> None:
    async with http_receiver(lambda _: (200, [], bytes(5_000_000))) as inbox:
        assert await send(sink_of(SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/"), [sample()]) == ""


@pytest.mark.parametrize("kind", list(SinkKind))
async def test_nobody_there_is_no_acknowledgement(kind: SinkKind) -> None:
    scheme = "tls" if kind is SinkKind.SYSLOG else "http"
    with pytest.raises(SinkError):
        await send(sink_of(kind, f"{scheme}://{LOOPBACK}:1/"), [sample()])
    with pytest.raises(SinkError):
        await send(sink_of(kind, f"{scheme}://{'x' * 70}.invalid/"), [sample()])


@pytest.mark.parametrize("end", ["close_notify", "fin"])
async def test_syslog_is_read_whole_and_a_close_in_good_order_acknowledges_it(end: str) -> None:
    authority = own_ca()
    records = [sample(sequence=number, detail="a\nb") for number in range(400)]
    async with syslog_receiver(authority.server, ends=lambda _: end) as inbox:
        sink = sink_of(SinkKind.SYSLOG, f"tls://{LOOPBACK}:{inbox.port}", ca=authority.pem)
        await send(sink, records)
        assert inbox.items == [syslog.encode(record) for record in records]


@pytest.mark.parametrize("end", ["reset", "crash"])
async def test_connection_that_breaks_acknowledges_nothing(end: str) -> None:
    authority = own_ca()
    async with syslog_receiver(authority.server, ends=lambda _: end) as inbox:
        sink = sink_of(SinkKind.SYSLOG, f"tls://{LOOPBACK}:{inbox.port}", ca=authority.pem)
        with pytest.raises(SinkError):
            await send(sink, [sample(sequence=number, detail="x" * 3_000) for number in range(1_500)])
        assert inbox.items == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_receiver_may_speak_tls_1_2(version: ssl.TLSVersion) -> None:
    authority = own_ca.__wrapped__()
    authority.server.maximum_version = authority.server.minimum_version = version
    async with syslog_receiver(authority.server) as inbox:
        await send(sink_of(SinkKind.SYSLOG, f"tls://{LOOPBACK}:{inbox.port}", ca=authority.pem), [sample()])
        assert len(inbox.items) == 1


async def test_ca_file_that_is_none_is_said_so() -> None:
    with pytest.raises(SinkError, match="CA file"):
        await send(sink_of(SinkKind.WEBHOOK, "https://127.0.0.1/", ca="nonsense"), [sample()])

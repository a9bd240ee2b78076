"""What a record says in each of the three forms: read back by their own rules, whatever stands in its text."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from pharos.helm.model.sinks import Source
from pharos.helm.siem import otlp, syslog, webhook
from pharos.helm.siem.records import (
    MAX_DETAIL,
    MAX_FIELD,
    EventRow,
    Record,
    of_event,
    of_gap,
    of_new_numbers,
    of_test,
)
from tests.support.sinks import FLEET, sample, unframed

SD_PARAM = re.compile(r' ([^\s="\]]{1,32})="((?:[^"\\\]]|\\["\\\]])*)"')
NASTY = 'a\nb\r\0c\x1b[31m"]\\[x]\u2028\u202e\x85é€😀<190>1 - - - -'


def read_syslog(message: bytes) -> tuple[dict[str, str], dict[str, str], str]:
    """Read a message by RFC 5424's grammar."""
    text = message.decode("utf-8")
    head = re.match(
        r"<(\d{1,3})>1 (\S{1,32}) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) \[(\S+?@\d+)", text
    )
    assert head is not None, text
    names = ("priority", "time", "host", "app", "process", "message_id", "sd_id")
    rest, parameters = text[head.end() :], {}
    while match := SD_PARAM.match(rest):
        parameters[match[1]] = re.sub(r'\\(["\\\]])', r"\1", match[2])
        rest = rest[match.end() :]
    assert rest.startswith("]"), rest
    return dict(zip(names, head.groups(), strict=True)), parameters, rest[1:].removeprefix(" ").removeprefix("\ufeff")


def event(**changes: object) -> Record:
    values = {"sequence": 9, "at": 1_800_000_000_000_000, "received_at": 1_800_000_000_500_000, "kind": "handshake"}
    values |= {"node_id": "n-1", "device_id": "d-1", "detail": "203.0.113.9:4711"} | changes
    return of_event(FLEET, EventRow(**values), {"n-1": "amsterdam"})  # type: ignore[arg-type]


def test_record_names_what_happened_and_is_known_again() -> None:
    record = sample()
    assert record.id == f"{FLEET}/audit/7/1800000000000001"
    assert (record.name, record.severity, record.text) == ("device_revoked", 5, "Ada's phone")
    assert (record.fields["actor"], record.fields["version"], record.fields["hash"]) == ("ada", 3, "00" * 32)
    told = event()
    assert (told.at, told.received_at, told.severity) == (1_800_000_000_000_000, 1_800_000_000_500_000, 6)
    assert told.fields == {"fleet": FLEET, "node": "n-1", "node_name": "amsterdam", "device": "d-1"}


def test_what_is_missing_is_a_warning_of_its_own() -> None:
    gap = of_gap(FLEET, Source.AUDIT, 5, 9, at=1)
    assert (gap.name, gap.severity, gap.fields["count"]) == ("siem_gap", 4, 5)
    assert of_new_numbers(FLEET, Source.EVENTS, 9, at=1).severity == 4
    assert sample(verb="sign_in_refused").severity == 4
    assert event(kind="dropped").severity == 4
    ids = {gap.id, sample(sequence=9, at=1).id, of_test(FLEET, "ada", at=1).id}
    assert len(ids) == 3


@pytest.mark.parametrize("value", [None, b"\xff", 1.5, "", 2**70, -1])
def test_row_with_what_helm_never_writes_is_told_of_all_the_same(value: object) -> None:
    record = sample(at=value, actor=value, detail=value, version=value, hash=value)
    syslog.encode(record)
    webhook.encode(FLEET, [record])
    if not (isinstance(value, int) and value > 2**63):
        otlp.encode(FLEET, [record])


def test_syslog_message_reads_by_the_rfc() -> None:
    head, parameters, text = read_syslog(syslog.encode(sample()))
    assert head == {
        "priority": str(13 * 8 + 5),
        "time": "2027-01-15T08:00:00.000001Z",
        "host": f"helm.{FLEET}.internal",
        "app": "pharos-helm",
        "process": "-",
        "message_id": "device_revoked",
        "sd_id": "pharos@32473",
    }
    assert (parameters["actor"], parameters["subject"][:8], parameters["sequence"]) == ("ada", "019b7c12", "7")
    assert text == "Ada's phone"
    assert read_syslog(syslog.encode(event()))[0]["priority"] == str(16 * 8 + 6)


def test_control_characters_stay_inside_their_one_message() -> None:
    for record in (sample(detail=NASTY), sample(actor=NASTY, subject=NASTY, verb=NASTY)):
        message = syslog.encode(record)
        assert not re.search(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9\xae]", message)
        assert unframed(syslog.frame([record, record])) == [message, message]
        read_syslog(message)
    assert "a#012b#015#000c#033[31m" in syslog.encode(sample(detail=NASTY)).decode()


def test_text_that_is_no_ascii_begins_with_its_mark() -> None:
    assert b"] \xef\xbb\xbf" in syslog.encode(sample(detail="Zoë"))
    assert b"\xef\xbb\xbf" not in syslog.encode(sample())
    assert syslog.encode(sample(detail="")).endswith(b"]")


@given(detail=st.text(max_size=300), actor=st.text(max_size=300), verb=st.text(max_size=60))
def test_any_text_is_one_message_in_every_form(detail: str, actor: str, verb: str) -> None:
    record = sample(detail=detail, actor=actor, verb=verb)
    (message,) = unframed(syslog.frame([record]))
    assert len(message) <= syslog.MAX_MESSAGE
    assert message.decode("utf-8").isprintable() or "\ufeff" in message.decode("utf-8")
    read_syslog(message)
    (told,) = json.loads(webhook.encode(FLEET, [record]))["records"]
    assert told["detail"] == detail
    (log,) = (
        ExportLogsServiceRequest.FromString(otlp.encode(FLEET, [record])).resource_logs[0].scope_logs[0].log_records
    )
    assert log.body.string_value == (detail or record.name)


@pytest.mark.parametrize("sign", ["x", "é", "😀", "\n", "\u2028", '"'])
def test_huge_text_is_cut_to_what_a_receiver_takes(sign: str) -> None:
    huge = sample(detail=sign * 1_000_000, actor=sign * 10_000, subject=sign * 10_000, noun=sign * 999)
    assert (len(huge.text), len(str(huge.fields["actor"]))) == (MAX_DETAIL, MAX_FIELD)
    assert huge.fields["detail_length"] == 1_000_000
    message = syslog.encode(huge)
    assert len(message) <= syslog.MAX_MESSAGE
    read_syslog(message)
    assert len(webhook.encode(FLEET, [huge])) < 64_000


@pytest.mark.parametrize("form", [webhook, syslog, otlp], ids=["webhook", "syslog", "otlp"])
def test_sizes_bound_what_goes_out(form: object) -> None:
    records = [sample(), sample(detail=NASTY * 20), event(), sample(detail="é" * 9_999)]
    whole = syslog.frame(records) if form is syslog else form.encode(FLEET, records)  # type: ignore[attr-defined]
    told = sum(form.size_of(record) for record in records)  # type: ignore[attr-defined]
    assert told - 100 <= len(whole) <= told + 300


def test_webhook_says_all_of_it_in_ascii() -> None:
    body = webhook.encode(FLEET, [sample(detail="Zoë\n"), event()])
    assert body.isascii()
    document = json.loads(body)
    assert document["fleet"] == FLEET
    first, second = document["records"]
    assert (first["name"], first["detail"], first["at"]) == ("device_revoked", "Zoë\n", "2027-01-15T08:00:00.000001Z")
    assert (second["source"], second["node_name"], second["severity"]) == ("events", "amsterdam", "info")


def test_otlp_is_what_its_own_protocol_reads() -> None:
    request = ExportLogsServiceRequest.FromString(otlp.encode(FLEET, [sample(), event(kind="dropped")]))
    (resource,) = request.resource_logs
    about = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert (about["service.name"], about["pharos.fleet"]) == ("pharos-helm", FLEET)
    first, second = resource.scope_logs[0].log_records
    assert (first.time_unix_nano, first.event_name, first.severity_number) == (
        1_800_000_000_000_001_000,
        "device_revoked",
        10,
    )
    said = {item.key: item.value.string_value or item.value.int_value for item in first.attributes}
    assert (said["pharos.actor"], said["pharos.version"], said["event.name"]) == ("ada", 3, "device_revoked")
    assert (second.severity_number, second.severity_text) == (13, "warning")
    assert second.observed_time_unix_nano - second.time_unix_nano == 500_000_000


def test_collector_says_how_many_it_left_out() -> None:
    partly = ExportLogsServiceResponse(partial_success=ExportLogsPartialSuccess(rejected_log_records=3))
    assert otlp.rejected_in(partly.SerializeToString()) == 3
    assert otlp.rejected_in(b"") == otlp.rejected_in(b"<html>no</html>") == 0

"""A batch of records as OTLP logs, and what a collector answers (OTLP 1.x, protobuf). Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

import pharos
from pharos.helm.siem.records import SEVERITIES, Record

CONTENT_TYPE: Final = "application/x-protobuf"
# "Logs data model", appendix B: how syslog's severities are told.
_SEVERITY: Final = {
    6: SeverityNumber.SEVERITY_NUMBER_INFO,
    5: SeverityNumber.SEVERITY_NUMBER_INFO2,
    4: SeverityNumber.SEVERITY_NUMBER_WARN,
}


def encode(fleet: str, records: Sequence[Record]) -> bytes:
    """Return the body of one POST."""
    resource = Resource(
        attributes=[
            _attribute("service.name", "pharos-helm"),
            _attribute("service.namespace", "pharos"),
            _attribute("service.version", pharos.__version__),
            _attribute("pharos.fleet", fleet),
        ]
    )
    logs = ScopeLogs(scope=InstrumentationScope(name="pharos.siem"), log_records=map(_log_record, records))
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=resource, scope_logs=[logs])]
    ).SerializeToString()


def size_of(record: Record) -> int:
    """Return how many octets a record adds to a body, its length prefix included."""
    return _log_record(record).ByteSize() + 5


def rejected_in(answer: bytes) -> int:
    """Return how many records a collector took no interest in; it wants no repetition of them (partial success).

    An answer that is none of OTLP's says nothing.
    """
    try:
        return int(ExportLogsServiceResponse.FromString(answer).partial_success.rejected_log_records)
    except DecodeError:
        return 0


def _log_record(record: Record) -> LogRecord:
    attributes: dict[str, str | int] = {
        "pharos.id": record.id,
        "pharos.source": record.source.value,
        "pharos.sequence": record.sequence,
        "event.name": record.name,
    }
    attributes |= {f"pharos.{name}": value for name, value in record.fields.items()}
    return LogRecord(
        time_unix_nano=record.at * 1_000,
        observed_time_unix_nano=record.received_at * 1_000,
        severity_number=_SEVERITY[record.severity],
        severity_text=SEVERITIES[record.severity],
        event_name=record.name,
        body=AnyValue(string_value=record.text or record.name),
        attributes=[_attribute(name, value) for name, value in attributes.items()],
    )


def _attribute(key: str, value: str | int) -> KeyValue:
    kind = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    return KeyValue(key=key, value=kind)

"""A look at a site on behalf of helm, on its way to a node and back."""

from __future__ import annotations

import ipaddress
from typing import Final

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.reality.params import MAX_SERVER_NAMES, check_server_names, split_target
from pharos.wire.reality.targetreport import Check, Finding, TargetReport, Verdict
from pharos.wire.units import SECONDS

# Each check may find two things for each name; there are twelve.
MAX_FINDINGS: Final = 24 * (MAX_SERVER_NAMES + 1)
# The longest sentence quotes five lengths.
MAX_TEXT: Final = 256
_MICROSECONDS: Final = 1_000_000


def look_to(host: str, port: int, names: tuple[str, ...]) -> pb.CheckTargetRequest:
    """Write what shall be looked at."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return pb.CheckTargetRequest(target=target, server_names=names)


def look_from(message: pb.CheckTargetRequest) -> tuple[str, int, tuple[str, ...]]:
    """Read host, port and names.

    Raises: ParameterError — one breaks a rule.
    """
    host, port = split_target(message.target)
    return host, port, check_server_names(tuple(message.server_names) or (host,))


def found_to(report: TargetReport) -> pb.CheckTargetReply:
    """Write what was found."""
    return pb.CheckTargetReply(
        findings=[
            pb.TargetFinding(
                check=finding.check.value,
                verdict=finding.verdict.value,
                text=finding.text[:MAX_TEXT],
                name=finding.name,
            )
            for finding in report.findings
        ],
        address=report.address,
        round_trip_us=0 if report.round_trip is None else max(1, round(report.round_trip / SECONDS * _MICROSECONDS)),
    )


def found_from(message: pb.CheckTargetReply, *, host: str, port: int, names: tuple[str, ...]) -> TargetReport:
    """Read what a node found.

    Raises: RemoteProtocolError — a value does not fit.
    """
    if not 0 < len(message.findings) <= MAX_FINDINGS:
        raise RemoteProtocolError(f"a report on a target has 1 to {MAX_FINDINGS} findings, not {len(message.findings)}")
    try:
        address = str(ipaddress.ip_address(message.address)) if message.address else ""
    except ValueError as error:
        raise RemoteProtocolError(f"a report on a target: {error}") from error
    return TargetReport(
        host=host,
        port=port,
        names=names,
        findings=tuple(_finding_from(finding, names) for finding in message.findings),
        address=address,
        round_trip=message.round_trip_us / _MICROSECONDS * SECONDS if message.round_trip_us else None,
    )


def _finding_from(message: pb.TargetFinding, names: tuple[str, ...]) -> Finding:
    if message.name and message.name not in names:
        raise RemoteProtocolError("a report on a target has a name that was not asked for")
    if len(message.text) > MAX_TEXT or not message.text.isprintable():
        raise RemoteProtocolError("a report on a target has a text that is none")
    try:
        verdict = Verdict(message.verdict)
    except ValueError as error:
        raise RemoteProtocolError(f"a report on a target: {error}") from error
    # A later version may look at more, and what it forbids is forbidden.
    check = Check(message.check) if message.check in {one.value for one in Check} else Check.OTHER
    return Finding(check, verdict, message.text, name=message.name)

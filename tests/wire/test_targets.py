from __future__ import annotations

from typing import Any

import attrs
import pytest

from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.reality.targetreport import Check, Finding, TargetReport, Verdict
from pharos.wire.targets import MAX_FINDINGS, MAX_TEXT, found_from, found_to, look_from, look_to

NAME = "www.site.test"
ASKED: dict[str, Any] = {"host": "site.test", "port": 443, "names": (NAME,)}
REPORT = TargetReport(
    **ASKED,
    findings=(
        Finding(Check.TLS13, Verdict.GOOD, "speaks TLS 1.3", name=NAME),
        Finding(Check.ROUND_TRIP, Verdict.WARNING, "is far away"),
    ),
    address="2001:db8::1",
    round_trip=0.0125,
)


@pytest.mark.parametrize("report", [REPORT, attrs.evolve(REPORT, address="", round_trip=None)])
def test_a_report_comes_as_it_went(report: TargetReport) -> None:
    assert found_from(found_to(report), **ASKED) == report


@pytest.mark.parametrize("host", ["site.test", "203.0.113.9", "2001:db8::9"])
def test_a_question_comes_as_it_went(host: str) -> None:
    assert look_from(look_to(host, 8443, (NAME,))) == (host, 8443, (NAME,))


def test_without_names_the_hosts_own_is_asked_for() -> None:
    assert look_from(pb.CheckTargetRequest(target="site.test:443")) == ("site.test", 443, ("site.test",))


@pytest.mark.parametrize("target", ["", "site.test", "site.test:0", "10.0.0.1:22", "*.test:443"])
def test_what_is_no_target_is_not_looked_at(target: str) -> None:
    with pytest.raises(ParameterError):
        look_from(pb.CheckTargetRequest(target=target))


def test_what_a_later_version_forbids_is_forbidden() -> None:
    reply = pb.CheckTargetReply(findings=[pb.TargetFinding(check="moon", verdict="forbids", text="is too bright")])
    report = found_from(reply, **ASKED)
    assert report.findings == (Finding(Check.OTHER, Verdict.FORBIDS, "is too bright"),)
    assert not report.usable


GOOD: dict[str, str] = {"check": "tls13", "verdict": "good", "text": "speaks"}


@pytest.mark.parametrize(
    "change", [{"verdict": "excellent"}, {"text": "x" * (MAX_TEXT + 1)}, {"text": "\x1b[2J"}, {"name": "other.test"}]
)
def test_a_finding_that_does_not_fit_is_not_taken(change: dict[str, str]) -> None:
    assert found_from(pb.CheckTargetReply(findings=[pb.TargetFinding(**GOOD)]), **ASKED).usable
    with pytest.raises(RemoteProtocolError):
        found_from(pb.CheckTargetReply(findings=[pb.TargetFinding(**GOOD | change)]), **ASKED)


@pytest.mark.parametrize("count", [0, MAX_FINDINGS + 1])
def test_a_report_of_nothing_or_of_too_much_is_not_taken(count: int) -> None:
    with pytest.raises(RemoteProtocolError, match="findings"):
        found_from(pb.CheckTargetReply(findings=[pb.TargetFinding(**GOOD)] * count), **ASKED)


def test_an_address_that_is_none_is_not_taken() -> None:
    with pytest.raises(RemoteProtocolError):
        found_from(pb.CheckTargetReply(findings=[pb.TargetFinding(**GOOD)], address="here"), **ASKED)

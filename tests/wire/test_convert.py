"""protobuf and back: every fact survives, every bad value is refused at the edge."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire import convert
from pharos.wire.convert import EventKind, NodeReport, PeerReport, TunnelEvent
from pharos.wire.desired import Fence, PreviousEndpoint, Push
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.reports import AMNEZIAWG, REALITY, RealityReport
from tests.support.strategies import (
    fences,
    keys,
    labels,
    node_addresses,
    parameters,
    parameters_of,
    peer_of,
    policies,
    previous_endpoints,
    pushes,
    quick,
    reality_of,
    reality_reports,
)

times = st.integers(0, 2**52)
counters = st.integers(0, 2**64 - 1)

peer_reports = st.builds(
    PeerReport,
    device_id=labels.map(DeviceId),
    awg_key=keys,
    last_handshake=times,
    received=counters,
    sent=counters,
    commitment=st.binary(min_size=8, max_size=8),
    generation=st.integers(0, 2**32 - 1),
    quota_used=counters,
    digest=st.binary(max_size=8),
    reality_received=counters,
    reality_sent=counters,
    reality_handshake=times,
)
reports = st.builds(
    NodeReport,
    node_id=labels.map(NodeId),
    version=st.text(max_size=20),
    applied=fences,
    started_at=times,
    awg_key=keys,
    derive_key=keys,
    awg_port=st.integers(0, 65535),
    awg=st.none() | parameters,
    addresses=node_addresses,
    peers=st.lists(peer_reports, max_size=3).map(tuple),
    deny_list=st.tuples(counters, counters),
    manifest_version=counters,
    certificate=st.binary(max_size=32),
    now=times,
    checkpoint=st.binary(max_size=9),
    policy=st.none() | policies,
    previous=previous_endpoints,
    reality=st.none() | reality_reports,
    tells_protocols=st.booleans(),
)
endpoints = st.text(max_size=40)


def event(kind: EventKind, device_id: st.SearchStrategy[DeviceId | None], detail: st.SearchStrategy[str]) -> object:
    return st.builds(
        TunnelEvent,
        sequence=counters,
        at=times,
        kind=st.just(kind),
        device_id=device_id,
        detail=detail,
        protocol=st.sampled_from(["", AMNEZIAWG, REALITY]),
    )


device_ids = labels.map(DeviceId)
tunnel_events = st.one_of(
    event(EventKind.HANDSHAKE, device_ids, endpoints),
    event(EventKind.CONNECTED, device_ids, endpoints),
    event(EventKind.DISCONNECTED, device_ids, endpoints),
    event(EventKind.GAP, st.none(), counters.map(str)),
)


@quick
@given(pushes)
def test_push_survives_the_wire(push: Push) -> None:
    data = convert.push_to(push).SerializeToString()
    assert convert.push_from(pb.PushRequest.FromString(data)) == push


@quick
@given(reports)
def test_report_survives_the_wire(report: NodeReport) -> None:
    data = convert.report_to(report).SerializeToString()
    assert convert.report_from(pb.StatusReply.FromString(data)) == report


@quick
@given(tunnel_events)
def test_event_survives_the_wire(happened: TunnelEvent) -> None:
    data = convert.event_to(happened).SerializeToString()
    assert convert.event_from(pb.Event.FromString(data)) == happened


@quick
@given(fences)
def test_fence_survives_the_wire(fence: Fence) -> None:
    assert convert.fence_from(pb.Fence.FromString(convert.fence_to(fence).SerializeToString())) == fence


def test_every_kind_of_event_has_its_message() -> None:
    for kind in EventKind:
        sample = TunnelEvent(sequence=1, at=1, kind=kind, device_id=DeviceId("a"), detail="5")
        assert convert.event_from(convert.event_to(sample)) == sample


def test_event_of_a_newer_node_is_passed_over() -> None:
    # Field 15 is one that this version does not know: (15 << 3) | 2, length 0.
    assert convert.event_from(pb.Event.FromString(b"\x08\x01\x7a\x00")) is None


def test_protocol_of_a_newer_node_is_not_known_and_one_of_an_earlier_node_is_not_guessed() -> None:
    message = convert.event_to(
        TunnelEvent(sequence=1, at=1, kind=EventKind.HANDSHAKE, device_id=DeviceId("a"), detail="", protocol=REALITY)
    )
    for number in (0, 77):
        message.protocol = number  # type: ignore[assignment]
        happened = convert.event_from(pb.Event.FromString(message.SerializeToString()))
        assert happened is not None
        assert happened.protocol == ""
    report = convert.report_from(pb.StatusReply(node_id="n", peers=[pb.PeerStatus(device_id="a", received_bytes=7)]))
    assert not report.tells_protocols


def break_push(change: Callable[[pb.PushRequest], object]) -> pb.PushRequest:
    message = convert.push_to(
        Push(
            fence=Fence(1, 1, 1),
            snapshot=True,
            upsert=(peer_of(1),),
            remove=(DeviceId("b"),),
            awg=parameters_of(1),
            reality=reality_of(1),
            previous=(PreviousEndpoint(port=8443, awg=parameters_of(2), reality=reality_of(2), until=9),),
        )
    )
    change(message)
    return message


@pytest.mark.parametrize(
    "change",
    [
        lambda push: push.upsert[0].ClearField("device_id"),
        lambda push: setattr(push.upsert[0], "device_id", "a\nPostUp = x"),
        lambda push: setattr(push.upsert[0], "awg_public_key", bytes(31)),
        lambda push: push.upsert[0].ClearField("derive_public_key"),
        lambda push: push.upsert[0].ClearField("generation"),
        lambda push: push.upsert[0].ClearField("addresses"),
        lambda push: push.upsert[0].addresses.append("0.0.0.0/33"),
        lambda push: push.remove.append("../b"),
        lambda push: push.addresses.append("10.0.0.0/8"),
        lambda push: setattr(push.awg, "h1", push.awg.h2),
        lambda push: setattr(push.awg, "jc", 2**32 - 1),
        lambda push: setattr(push.reality, "target", "site.example"),
        lambda push: push.reality.ClearField("server_names"),
        lambda push: push.reality.short_ids.append("abc"),
        lambda push: push.reality.ClearField("generation"),
        lambda push: push.previous.endpoints[0].reality.short_ids.append("x"),
        lambda push: push.previous.endpoints[0].ClearField("port"),
        # Nothing is left of it.
        lambda push: (
            push.previous.endpoints[0].ClearField("awg"),
            push.previous.endpoints[0].ClearField("reality"),
        ),
    ],
)
def test_push_with_a_bad_value_is_refused(change: Callable[[pb.PushRequest], object]) -> None:
    with pytest.raises(RemoteProtocolError):
        convert.push_from(break_push(change))


def key_of(generation: int, *, public_key: bytes = bytes(32), proof: bytes = bytes(64)) -> pb.RealityKey:
    return pb.RealityKey(generation=generation, public_key=public_key, proof=proof)


def test_node_of_an_earlier_version_says_nothing_of_reality() -> None:
    assert convert.report_from(pb.StatusReply(node_id="a")).reality is None
    told_nothing = convert.report_from(pb.StatusReply(node_id="a", reality=pb.RealityStatus()))
    assert told_nothing.reality == RealityReport()


@pytest.mark.parametrize(
    "message",
    [
        pb.StatusReply(node_id=""),
        pb.StatusReply(node_id="a\nb"),
        pb.StatusReply(node_id="a", started_at_us=-1),
        pb.StatusReply(node_id="a", started_at_us=2**62),
        pb.StatusReply(node_id="a", peers=[pb.PeerStatus(device_id="a b")]),
        pb.StatusReply(node_id="a", peers=[pb.PeerStatus(device_id="b", last_handshake_us=2**63 - 1)]),
        pb.StatusReply(node_id="a", awg=pb.AwgParameters(h1=7, h2=7)),
        pb.StatusReply(node_id="a", reality=pb.RealityStatus(port=65536)),
        pb.StatusReply(node_id="a", reality=pb.RealityStatus(parameters=pb.RealityParameters(target="a:1"))),
        pb.StatusReply(node_id="a", reality=pb.RealityStatus(keys=[key_of(1, public_key=bytes(31))])),
        pb.StatusReply(node_id="a", reality=pb.RealityStatus(keys=[key_of(1, proof=bytes(65))])),
        pb.StatusReply(node_id="a", reality=pb.RealityStatus(keys=[key_of(0)])),
        pb.StatusReply(node_id="a", reality=pb.RealityStatus(keys=[key_of(1), key_of(1)])),
        pb.StatusReply(node_id="a", reality=pb.RealityStatus(keys=map(key_of, range(1, 5)))),
        pb.StatusReply(node_id="a", version="v" * 1000),
    ],
)
def test_report_with_a_bad_value_is_refused(message: pb.StatusReply) -> None:
    with pytest.raises(RemoteProtocolError):
        convert.report_from(message)


@pytest.mark.parametrize(
    "message",
    [
        # helm shows times as RFC 3339, which ends with the year 9999.
        pb.Event(at_us=2**62, device_id="a", handshake=pb.HandshakeCompleted()),
        pb.Event(at_us=-1, device_id="a", handshake=pb.HandshakeCompleted()),
        pb.Event(at_us=1, device_id="<script>", connected=pb.PeerConnected()),
        pb.Event(at_us=1, device_id="a", disconnected=pb.PeerDisconnected(reason="x" * 1000)),
    ],
)
def test_event_with_a_bad_value_is_refused(message: pb.Event) -> None:
    with pytest.raises(RemoteProtocolError):
        convert.event_from(message)


@quick
@given(st.binary(max_size=200))
def test_junk_gives_a_fact_or_a_refusal(data: bytes) -> None:
    for kind, read in (
        (pb.PushRequest, convert.push_from),
        (pb.StatusReply, convert.report_from),
        (pb.Event, convert.event_from),
    ):
        try:
            message = kind.FromString(data)
        except Exception:  # protobuf's own; the RPC engine answers for it
            continue
        with contextlib.suppress(RemoteProtocolError):
            read(message)  # type: ignore[operator]

"""What a node is told: REALITY's parameters, and the requests of its control socket."""

from __future__ import annotations

import json

from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.reality.control import (
    BadRequest,
    Change,
    GetRequest,
    WatchRequest,
    as_public_key,
    read_place,
    write_place,
)
from pharos.wire.reality.controlread import ControlReader
from pharos.wire.reality.controlwrite import render_change
from pharos.wire.reality.engine import _settings
from pharos.wire.reality.params import RealityParameters, split_target
from tests.fuzz.proxies import halves
from tests.support.strategies import reality_of


def reality_parameters(data: bytes) -> None:
    """A mapping of JSON is refused, or survives its way there and back and names a place."""
    try:
        mapping = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(mapping, dict):
        return
    try:
        found = RealityParameters.from_mapping(mapping)
    except ParameterError:
        return
    assert RealityParameters.from_mapping(json.loads(json.dumps(found.as_mapping()))) == found
    host, port = split_target(found.target)
    assert host in found.target
    assert 0 < port < 1 << 16


def control(data: bytes) -> None:
    """A manager is cut off or understood, the same in any pieces; a node can be what it is told, or says no."""
    whole, pieces = requests_in((data,)), requests_in(halves(data))
    if whole is None or pieces is None:
        assert whole == pieces
        return
    assert whole == pieces
    for request in whole:
        assert isinstance(request, GetRequest | WatchRequest | BadRequest | Change)
        if isinstance(request, BadRequest):
            assert request.errno > 0
        if isinstance(request, Change):
            check(request)


def requests_in(pieces: tuple[bytes, ...]) -> list[object] | None:
    reader = ControlReader()
    try:
        return [request for piece in pieces for request in reader.receive_data(piece)]
    except RemoteProtocolError:
        return None


def check(change: Change) -> None:
    assert ControlReader().receive_data(render_change(change)) == [change]
    assert Change().merged(change).merged(change) == Change().merged(change)
    for place in change.listen or ():
        assert read_place(write_place(place)) == place
    if change.private_key is not None:
        assert as_public_key(change.private_key) != change.private_key
        assert change.private_key.hex() not in repr(change)
    try:
        settings = _settings(change)
    except ParameterError:
        return
    assert settings is None or len(settings.gate.short_ids) == len(change.short_ids or ())


def mappings() -> tuple[bytes, ...]:
    targets = ("site.example:443", "[2001:db8::9]:443", "203.0.113.9:8443")
    found = [{**reality_of(number).as_mapping(), "target": target} for number, target in enumerate(targets)]
    return tuple(json.dumps(one).encode() for one in found)


def requests() -> tuple[bytes, ...]:
    node = (
        f"set=1\nprivate_key={'11' * 32}\nmldsa65_seed={'22' * 32}\ntarget=www.site.test:443\n"
        "server_names=www.site.test,site.test\nshort_ids=,0123456789abcdef\nmax_time_difference=60\n"
        "oldest_version=26.3.27\nnewest_version=255.0.0\nlisten=0.0.0.0:443,[::]:443\n"
        "allowed_networks=10.0.0.0/8,fd00::/8\nreplace_users=true\n"
    )
    users = (
        "user=one\nid=dabf1c7a-b0e8-431f-af3b-b7ee860e75ec\nflow=xtls-rprx-vision\nsend_rate=1000\nreceive_rate=0\n"
        "user=two\nremove=true\nuser=three\nkick=true\nflow=none\n"
    )
    return (f"{node}{users}\n".encode(), f"{node}\nget=1\n\nwatch=1\n\n".encode(), f"set=1\n{users}\n".encode())

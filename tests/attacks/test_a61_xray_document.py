"""Row 61. Position: whoever may name a device, a site or a network. Wants: an Xray that serves or admits somebody else.

A text that ends its value could bring a user, an inbound without a password or an open API into the document.
Countermeasure: values become JSON by a writer of JSON, the document is read again before it is written, and its schema
is closed in every place; the API is a file with a mode, which nobody but Xray and the agent can open.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.dataplane.base import EngineError, RealityUser
from pharos.buoy.xray import files, model
from pharos.buoy.xray.files import write_candidate
from pharos.buoy.xray.model import render
from pharos.buoy.xray.validate import check_rendered
from pharos.wire.errors import ParameterError
from pharos.wire.ids import DeviceId
from tests.buoy.xray.rig import ALICE, config, users
from tests.support.strategies import quick

RUNTIME = Path("/run/pharos-xray")
FIXED_ID = "99999999-9999-4999-8999-999999999999"
# Ends the name, the client and the list, and begins an inbound that asks nobody for anything.
PAYLOADS = [
    f'a", "flow": ""}}, {{"id": "{FIXED_ID}", "email": "mallory',
    '"}]}}, {"listen": "0.0.0.0", "port": 1080, "protocol": "socks", "settings": {"auth": "noauth"}}, {"x": [{"y": "',
    "a\n",
    "a\u2028b",
    '\\"',
    "A",
    "",
]


def named(name: str) -> RealityUser:
    return attrs.evolve(ALICE, device_id=DeviceId(name))


def by_hand(document: dict[str, Any]) -> bytes:
    """Weakened: a writer that puts quotation marks round a text, as templates do."""
    clients = document["inbounds"][1]["settings"]["clients"]
    written = ", ".join("{" + ", ".join(f'"{key}": "{value}"' for key, value in one.items()) + "}" for one in clients)
    skeleton = copy.deepcopy(document)
    skeleton["inbounds"][1]["settings"]["clients"] = "HERE"
    return json.dumps(skeleton).replace('"HERE"', f"[{written}]").encode()


def everything(data: bytes) -> list[dict[str, Any]]:
    clients: list[dict[str, Any]] = json.loads(data)["inbounds"][1]["settings"]["clients"]
    return clients


def test_a61_turns_red_with_a_template() -> None:
    injected = everything(by_hand(config(RUNTIME, users=users(named(PAYLOADS[0]))).document()))
    assert [client["email"] for client in injected] == ["a", "mallory"]
    assert injected[1]["id"] == FIXED_ID


def test_a61_what_a_template_wrote_is_seen_before_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "render", by_hand)
    with pytest.raises(EngineError):
        write_candidate(config(tmp_path, users=users(named(PAYLOADS[0]))))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.red_inside
def test_a61_a_name_stays_a_name_and_is_not_taken(
    payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = config(tmp_path, users=users(named(payload)))
    [client] = everything(render(hostile.document()))
    assert client["email"] == payload
    with pytest.raises(EngineError):
        write_candidate(hostile)
    assert list(tmp_path.iterdir()) == []
    # Weakened: nobody looks.
    monkeypatch.setattr(files, "check_rendered", lambda data, runtime: None)
    assert json.loads(write_candidate(hostile).read_bytes())["inbounds"][1]["settings"]["clients"] == [client]


@quick
@given(st.text(max_size=80))
def test_a61_whatever_a_device_is_called_adds_nothing(name: str) -> None:
    document = config(RUNTIME, users=users(named(name))).document()
    assert json.loads(render(document)) == document
    assert len(document["inbounds"]) == 2


SOCKS = {"tag": "x", "listen": "0.0.0.0", "port": 1080, "protocol": "socks", "settings": {"auth": "noauth"}}
OPEN_API = {"tag": "api", "listen": "0.0.0.0:8080", "services": ["HandlerService", "StatsService"]}


def with_inbound(document: dict[str, Any]) -> None:
    document["inbounds"].append(SOCKS)


def with_open_api(document: dict[str, Any]) -> None:
    document["api"] = OPEN_API


def with_reflection(document: dict[str, Any]) -> None:
    document["api"]["services"].append("ReflectionService")


def with_door_on_a_port(document: dict[str, Any]) -> None:
    document["inbounds"][0] |= {"listen": "127.0.0.1", "port": 10085}


def with_door_for_all(document: dict[str, Any]) -> None:
    document["inbounds"][0]["listen"] = f"{RUNTIME}/api.sock,0666"


def with_open_rule(document: dict[str, Any]) -> None:
    document["routing"]["rules"].insert(1, {"ip": ["0.0.0.0/0"], "outboundTag": "direct"})


def with_users_to_the_api(document: dict[str, Any]) -> None:
    document["routing"]["rules"].append({"ip": ["0.0.0.0/0"], "outboundTag": "api"})


def with_fallback(document: dict[str, Any]) -> None:
    document["inbounds"][1]["settings"]["fallbacks"] = [{"dest": 22}]


def with_key_log(document: dict[str, Any]) -> None:
    document["inbounds"][1]["streamSettings"]["realitySettings"]["masterKeyLog"] = "/tmp/keys"


def with_diary(document: dict[str, Any]) -> None:
    document["log"]["access"] = "/var/log/xray.log"


def with_reverse(document: dict[str, Any]) -> None:
    document["inbounds"][1]["settings"]["clients"][0]["reverse"] = {"tag": "in"}


def with_stranger_outbound(document: dict[str, Any]) -> None:
    document["outbounds"].insert(0, {"tag": "out", "protocol": "freedom", "settings": {}})


ADDITIONS = [
    with_inbound,
    with_open_api,
    with_reflection,
    with_door_on_a_port,
    with_door_for_all,
    with_open_rule,
    with_users_to_the_api,
    with_fallback,
    with_key_log,
    with_diary,
    with_reverse,
    with_stranger_outbound,
]


@pytest.mark.parametrize("addition", ADDITIONS)
def test_a61_nothing_is_in_a_document_that_was_not_meant(addition: Any) -> None:
    document = config(RUNTIME).document()
    check_rendered(render(document), runtime=RUNTIME)
    addition(document)
    with pytest.raises(ParameterError):
        check_rendered(render(document), runtime=RUNTIME)


@pytest.mark.red_inside
def test_a61_a_key_that_is_there_twice_is_seen() -> None:
    data = render(config(RUNTIME).document())
    twice = data.replace(b'"stats": {}', b'"stats": {}, "stats": {}')
    # Weakened: the last one counts, as for any reader of JSON, and the next reader may take the first.
    assert json.loads(twice) == json.loads(data)
    with pytest.raises(ParameterError, match="each key once"):
        check_rendered(twice, runtime=RUNTIME)


@pytest.mark.red_inside
def test_a61_the_api_is_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    document = config(RUNTIME).document()
    assert "listen" not in document["api"]
    assert document["inbounds"][0]["listen"] == f"{RUNTIME}/api.sock,0660"
    assert [key for key in document["inbounds"][0] if key == "port"] == []
    # Weakened, and red: a socket that anybody may open.
    monkeypatch.setattr(model, "SOCKET_MODE", 0o666)
    with pytest.raises(ParameterError, match=r"inbounds\[0\].listen"):
        check_rendered(render(config(RUNTIME).document()), runtime=RUNTIME)

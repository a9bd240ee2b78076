"""What Xray is to be, and the document that says so to it. Pure: values become JSON by `json.dumps`, in no other way.

What comes from outside, names, keys and networks, only ever stands where a value stands; `validate` looks once more.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.buoy.dataplane.base import RealityEndpoint, RealityUser
from pharos.buoy.xray.closed import closed_networks
from pharos.wire.desired import Policy
from pharos.wire.ids import DeviceId
from pharos.wire.reality.vless import Flow

Document = dict[str, Any]

API: Final = "api"
BLOCKED: Final = "blocked"
DIRECT: Final = "direct"
API_SERVICES: Final = ("HandlerService", "StatsService")
SOCKET_MODE: Final = 0o660
EVERYWHERE: Final = ("0.0.0.0/0", "::/0")
OLDEST_CLIENT: Final = "1.8.0"
"""The first that spoke REALITY. Servers from 26.7.11 on refuse what is older than 26.3.27 if nothing is said."""
MAX_TIME_DIFFERENCE: Final = 120_000
"""Milliseconds between the clocks of a device and the node; 0, Xray's default, would let old hellos be used again."""
HANDSHAKE: Final = 4
"""Seconds that a connection has for its request; likewise the next: Xray's own defaults, which browsers know."""
IDLE: Final = 300
CONFIG_NAME: Final = "config.json"
ACCESS_LOG_NAME: Final = "access.fifo"
API_NAME: Final = "api.sock"
_VISION: Final = Flow.VISION.value
_DIGEST: Final = 16
"""Hexadecimal digits of a tag: what one machine may ever serve is told apart by them, not what an enemy thinks up."""


@attrs.frozen(kw_only=True)
class XrayConfig:
    """One Xray: where it listens, for whom, and what they may reach."""

    runtime: Path
    """The directory of its socket and its log; both Xray and the agent may write there, and nobody else."""
    listen: str
    """An IP address; ``::`` is all of both families."""
    endpoints: tuple[RealityEndpoint, ...]
    users: Mapping[DeviceId, RealityUser]
    policy: Policy
    allowed: tuple[str, ...] = ()
    """Networks that users may reach though they are closed, CIDR."""
    own: tuple[str, ...] = ()
    """The node's own public addresses, CIDR: what listens there is not for its users."""

    @property
    def api(self) -> Path:
        return self.runtime / API_NAME

    @property
    def access_log(self) -> Path:
        return self.runtime / ACCESS_LOG_NAME

    @property
    def file(self) -> Path:
        return self.runtime / CONFIG_NAME

    def tags(self) -> tuple[str, ...]:
        """Return what the endpoints are called.

        Each name holds a digest of all but the users: an Xray that knows it runs what this says, whoever started it.
        """
        whole = json.dumps(_document(self, self._names("")), sort_keys=True).encode()
        return self._names("-" + hashlib.sha256(whole).hexdigest()[:_DIGEST])

    def _names(self, ending: str) -> tuple[str, ...]:
        return tuple(f"reality-{index}{ending}" for index in range(len(self.endpoints)))

    def document(self) -> Document:
        """Return the whole document, users included."""
        document = _document(self, self.tags())
        clients = [_client(user) for user in self.users.values()]
        for inbound in document["inbounds"][1:]:
            inbound["settings"]["clients"] = clients
        return document


def render(document: Document) -> bytes:
    """Return a document as it is written."""
    return json.dumps(document).encode() + b"\n"


def spell_user_id(user_id: bytes) -> str:
    """Return a user id as a UUID is spelt (as `uuid.UUID` does, at a quarter of its price)."""
    digits = user_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def spell_key(key: bytes) -> str:
    """Return a key as Xray spells it: no padding."""
    return urlsafe_b64encode(key).decode().rstrip("=")


def _document(config: XrayConfig, tags: tuple[str, ...]) -> Document:
    return {
        # Errors go to standard output, the journal. Below errors Xray tells where users go.
        "log": {"access": str(config.access_log), "loglevel": "error", "dnsLog": False},
        "api": {"tag": API, "services": list(API_SERVICES)},
        "stats": {},
        "policy": {
            "levels": {
                "0": {
                    "handshake": HANDSHAKE,
                    "connIdle": IDLE,
                    "statsUserUplink": True,
                    "statsUserDownlink": True,
                    "statsUserOnline": True,
                }
            },
        },
        "inbounds": [_door(config), *map(_inbound, [config.listen] * len(tags), config.endpoints, tags)],
        # What no rule names goes to the first one.
        "outbounds": [
            {"tag": BLOCKED, "protocol": "blackhole"},
            {"tag": DIRECT, "protocol": "freedom", "settings": {"domainStrategy": "AsIs"}},
        ],
        # Rules are about addresses: names are looked up before, and one that has none goes nowhere.
        "routing": {"domainStrategy": "IPOnDemand", "rules": _rules(config)},
    }


def _door(config: XrayConfig) -> Document:
    """The API asks nobody who he is. Behind a door of our own it is a file with a mode, in every version of Xray."""
    return {
        "tag": API,
        "listen": f"{config.api},{SOCKET_MODE:04o}",
        "protocol": "dokodemo-door",
        "settings": {"address": "127.0.0.1", "port": 1, "network": "unix"},
    }


def _inbound(listen: str, endpoint: RealityEndpoint, tag: str) -> Document:
    parameters = endpoint.parameters
    return {
        "tag": tag,
        "listen": listen,
        "port": endpoint.port,
        "protocol": "vless",
        "settings": {"decryption": "none", "clients": []},
        "streamSettings": {
            "network": "raw",
            "security": "reality",
            "realitySettings": {
                "target": parameters.target,
                "xver": 0,
                "serverNames": list(parameters.server_names),
                "privateKey": spell_key(endpoint.private_key),
                "shortIds": list(parameters.short_ids),
                "maxTimeDiff": MAX_TIME_DIFFERENCE,
                "minClientVer": OLDEST_CLIENT,
            },
        },
    }


def _client(user: RealityUser) -> dict[str, str]:
    return {"id": spell_user_id(user.user_id), "email": user.device_id, "flow": _VISION}


def _rules(config: XrayConfig) -> list[Document]:
    policy = config.policy
    rules: list[Document] = [{"inboundTag": [API], "outboundTag": API}]
    if policy.closed:
        rules.append({"ip": list(map(str, map(ipaddress.ip_network, policy.closed))), "outboundTag": BLOCKED})
    if config.allowed:
        rules.append({"ip": list(config.allowed), "outboundTag": DIRECT})
    rules.append({"ip": list(closed_networks(policy.closed, config.own)), "outboundTag": BLOCKED})
    if policy.internet:
        rules.append({"ip": list(EVERYWHERE), "outboundTag": DIRECT})
    return rules

"""Looks at a document of Xray's as a stranger would: closed in every place, so that nothing can be in it unseen.

Xray ignores keys that it does not know, takes some values that make it fail later, and crashes at others
(docs/guide/xray.md); `xray run -test` is asked as well, but it is not what this relies on.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, NoReturn

from pharos.buoy.xray.closed import not_public
from pharos.buoy.xray.fields import (
    MAX_PORT,
    MAX_TIME_DIFFERENCE,
    MIN_TIME_DIFFERENCE,
    broken,
    check_email,
    check_equal,
    check_flow,
    check_listen,
    check_looks,
    check_networks,
    check_number,
    check_private_key,
    check_tag,
    check_user_id,
    check_version,
)
from pharos.buoy.xray.model import (
    ACCESS_LOG_NAME,
    API,
    API_NAME,
    API_SERVICES,
    BLOCKED,
    DIRECT,
    SOCKET_MODE,
)
from pharos.wire.desired import MAX_PREVIOUS

Object = dict[str, Any]

MAX_ENDPOINTS: Final = 1 + MAX_PREVIOUS
_TOP: Final = ("log", "api", "stats", "policy", "inbounds", "outbounds", "routing")
_INBOUND: Final = ("tag", "listen", "port", "protocol", "settings", "streamSettings")
_CLIENT: Final = frozenset({"id", "email", "flow"})
_REALITY: Final = (
    "target",
    "xver",
    "serverNames",
    "privateKey",
    "shortIds",
    "maxTimeDiff",
    "minClientVer",
)
_LEVEL: Final = ("handshake", "connIdle", "statsUserUplink", "statsUserDownlink", "statsUserOnline")
_LONGEST_IDLE: Final = 3600
"""Seconds; likewise the next."""
# What an operator may open of the networks that are closed: the whole of 10.0.0.0/8, or of fc00::/7, at most.
_NARROW_V4, _NARROW_V6 = 8, 7
_LONGEST_HANDSHAKE: Final = 60


def check_rendered(data: bytes, *, runtime: Path) -> None:
    """Check what is about to be written for Xray to read.

    Raises: ParameterError — it is no document of ours; the message says where.
    """
    try:
        document = json.loads(data, object_pairs_hook=_without_twins, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise broken("the file", "must be JSON with each key once") from None
    check_document(document, runtime=runtime)


def check_document(document: object, *, runtime: Path) -> None:
    """Check a whole document; ``runtime`` is where Xray's socket and log may be.

    Raises: ParameterError — it is none of ours; the message says where.
    """
    whole = _object(document, "the document", _TOP)
    log = _object(whole["log"], "log", ("access", "loglevel", "dnsLog"))
    check_equal(log["access"], "log.access", str(runtime / ACCESS_LOG_NAME))
    # Whatever is told below errors names where users go, and so does the log of names.
    check_equal(log["loglevel"], "log.loglevel", "error")
    check_equal(log["dnsLog"], "log.dnsLog", wanted=False)
    api = _object(whole["api"], "api", ("tag", "services"))
    check_equal(api["tag"], "api.tag", API)
    check_equal(api["services"], "api.services", list(API_SERVICES))
    _object(whole["stats"], "stats", ())
    _check_policy(whole["policy"])
    _check_inbounds(whole["inbounds"], runtime)
    _check_outbounds(whole["outbounds"])
    _check_routing(whole["routing"])


def _check_policy(value: object) -> None:
    policy = _object(value, "policy", ("levels",))
    levels = _object(policy["levels"], "policy.levels", ("0",))
    level = _object(levels["0"], "policy.levels.0", _LEVEL)
    check_number(level["handshake"], "handshake", 1, _LONGEST_HANDSHAKE)
    check_number(level["connIdle"], "connIdle", 1, _LONGEST_IDLE)
    for name in _LEVEL[2:]:
        check_equal(level[name], name, wanted=True)


def _check_inbounds(value: object, runtime: Path) -> None:
    inbounds = _list(value, "inbounds")
    if not 1 <= len(inbounds) <= 1 + MAX_ENDPOINTS:
        raise broken("inbounds", f"must be the API's and at most {MAX_ENDPOINTS} more")
    door = _object(inbounds[0], "inbounds[0]", ("tag", "listen", "protocol", "settings"))
    check_equal(door["tag"], "inbounds[0].tag", API)
    check_equal(door["listen"], "inbounds[0].listen", f"{runtime / API_NAME},{SOCKET_MODE:04o}")
    check_equal(door["protocol"], "inbounds[0].protocol", "dokodemo-door")
    settings = _object(door["settings"], "inbounds[0].settings", ("address", "port", "network"))
    check_equal(settings, "inbounds[0].settings", {"address": "127.0.0.1", "port": 1, "network": "unix"})
    tags, ports = set(), set()
    for index, inbound in enumerate(inbounds[1:], 1):
        where = f"inbounds[{index}]"
        tag, port = _check_inbound(inbound, where)
        if tag in tags or port in ports:
            raise broken(where, "must have a tag and a port of its own")
        tags.add(tag)
        ports.add(port)


def _check_inbound(value: object, where: str) -> tuple[str, int]:
    inbound = _object(value, where, _INBOUND)
    tag = check_tag(inbound["tag"], f"{where}.tag")
    check_listen(inbound["listen"], f"{where}.listen")
    port = check_number(inbound["port"], f"{where}.port", 1, MAX_PORT)
    check_equal(inbound["protocol"], f"{where}.protocol", "vless")
    settings = _object(inbound["settings"], f"{where}.settings", ("decryption", "clients"))
    check_equal(settings["decryption"], f"{where}.settings.decryption", "none")
    _check_clients(settings["clients"], f"{where}.settings.clients")
    stream = _object(inbound["streamSettings"], f"{where}.streamSettings", ("network", "security", "realitySettings"))
    check_equal(stream["network"], f"{where}.streamSettings.network", "raw")
    check_equal(stream["security"], f"{where}.streamSettings.security", "reality")
    where = f"{where}.streamSettings.realitySettings"
    reality = _object(stream["realitySettings"], where, _REALITY)
    check_looks(reality, where)
    check_equal(reality["xver"], f"{where}.xver", 0)
    check_private_key(reality["privateKey"], f"{where}.privateKey")
    check_number(reality["maxTimeDiff"], f"{where}.maxTimeDiff", MIN_TIME_DIFFERENCE, MAX_TIME_DIFFERENCE)
    check_version(reality["minClientVer"], f"{where}.minClientVer")
    return tag, port


def _check_clients(value: object, where: str) -> None:
    emails, user_ids = set(), set()
    # Ten thousand of them are looked at for each that changes.
    for client in _list(value, where):
        fields = _object(client, where, _CLIENT)
        email = check_email(fields["email"], where)
        user_id = check_user_id(fields["id"], where)
        check_flow(fields["flow"], where)
        # Xray refuses the first at its start only, and of the second lets the last one in.
        if email in emails or user_id in user_ids:
            raise broken(f"{where}: {email}", "must have a name and a user id of its own")
        emails.add(email)
        user_ids.add(user_id)


def _check_outbounds(value: object) -> None:
    wanted = [
        {"tag": BLOCKED, "protocol": "blackhole"},
        {"tag": DIRECT, "protocol": "freedom", "settings": {"domainStrategy": "AsIs"}},
    ]
    check_equal(value, "outbounds", wanted)


def _check_routing(value: object) -> None:
    routing = _object(value, "routing", ("domainStrategy", "rules"))
    check_equal(routing["domainStrategy"], "routing.domainStrategy", "IPOnDemand")
    rules = _list(routing["rules"], "routing.rules")
    if not rules:
        raise broken("routing.rules", "must begin with the API's")
    check_equal(rules[0], "routing.rules[0]", {"inboundTag": [API], "outboundTag": API})
    closed: set[str] = set()
    for index, rule in enumerate(rules[1:], 1):
        where = f"routing.rules[{index}]"
        fields = _object(rule, where, ("ip", "outboundTag"))
        networks = check_networks(fields["ip"], f"{where}.ip")
        if fields["outboundTag"] == BLOCKED:
            closed |= networks
            continue
        check_equal(fields["outboundTag"], f"{where}.outboundTag", DIRECT)
        if any(map(_is_wide, networks)) and not closed.issuperset(map(str, not_public())):
            raise broken(where, "must not open so much before what is not of the Internet was closed")


def _is_wide(text: str) -> bool:
    network = ipaddress.ip_network(text)
    return network.prefixlen < (_NARROW_V4 if network.version == 4 else _NARROW_V6)


def _object(value: object, where: str, keys: Collection[str]) -> Object:
    if type(value) is not dict or value.keys() != (keys if isinstance(keys, frozenset) else set(keys)):
        raise broken(where, f"must have the keys {', '.join(sorted(keys)) or '(none)'} and no other")
    return value


def _list(value: object, where: str) -> list[Any]:
    if type(value) is not list:
        raise broken(where, "must be a list")
    return value


def _without_twins(pairs: list[tuple[str, Any]]) -> Object:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)

"""The rules of single values in a document of Xray's, each stricter than its own `-test`.

Raises everywhere: ParameterError — the value breaks its rule; the message says where, and shows no secret.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import urlsafe_b64decode
from typing import Any, Final

from pharos.wire.errors import ParameterError
from pharos.wire.ids import check_label
from pharos.wire.reality.params import check_server_names, check_short_ids, split_target
from pharos.wire.reality.vless import Flow

KEY_CHARACTERS: Final = 43
"""Of 32 octets in base64 without padding."""
MAX_PORT: Final = 65535
MIN_TIME_DIFFERENCE, MAX_TIME_DIFFERENCE = 1_000, 600_000
"""Milliseconds. Below a second honest clocks differ; above ten minutes an old hello is as good as a new one."""
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_USER_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VERSION: Final = re.compile(r"(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})")
_TAG: Final = re.compile(r"reality-\d-[0-9a-f]{16}")
_VERSION_PART: Final = 256
_VISION: Final = Flow.VISION.value


def broken(where: str, rule: str) -> ParameterError:
    return ParameterError(f"Xray's configuration: {where} {rule}")


def check_text(value: object, where: str) -> str:
    if type(value) is not str:
        raise broken(where, "must be a text")
    return value


def check_number(value: object, where: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise broken(where, f"must be a whole number from {low} to {high}")
    return value


def check_equal(value: object, where: str, wanted: object) -> None:
    """The value is this one: of the same type too, for to Python 1 is True."""
    if type(value) is not type(wanted) or value != wanted:
        raise broken(where, f"must be {wanted!r}")


def check_private_key(value: object, where: str) -> None:
    text = check_text(value, where)
    if not _KEY.fullmatch(text) or len(urlsafe_b64decode(text + "=")) != 32:
        raise broken(where, f"must be 32 octets in base64url, {KEY_CHARACTERS} characters without padding")


def check_user_id(value: object, where: str) -> str:
    """Xray makes an id of any short text, by hashing it; ours are UUIDs. Returns what Xray compares of it."""
    text = check_text(value, where)
    if not _USER_ID.fullmatch(text):
        raise broken(where, "must be a UUID in its usual spelling")
    # Octets 6 and 7 are the client's to write a route into.
    return text[:14] + text[18:]


def check_email(value: object, where: str) -> str:
    text = check_text(value, where)
    try:
        return check_label(text)
    except ValueError as error:
        raise broken(where, "must be a device's id") from error


def check_flow(value: object, where: str) -> None:
    if type(value) is not str or value != _VISION:
        raise broken(where, f"must have the flow {_VISION}")


def check_tag(value: object, where: str) -> str:
    text = check_text(value, where)
    if not _TAG.fullmatch(text):
        raise broken(where, "must be reality-, a number and a digest")
    return text


def check_listen(value: object, where: str) -> None:
    text = check_text(value, where)
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise broken(where, "must be an IP address") from error
    if str(address) != text or "%" in text:
        raise broken(where, "must be an IP address in its usual spelling, without a zone")


def check_version(value: object, where: str) -> None:
    text = check_text(value, where)
    if not _VERSION.fullmatch(text) or any(int(part) >= _VERSION_PART for part in text.split(".")):
        raise broken(where, f"must be three numbers below {_VERSION_PART}")


def check_networks(value: object, where: str) -> frozenset[str]:
    if type(value) is not list or not value:
        raise broken(where, "must be a list of networks")
    for text in value:
        try:
            if type(text) is not str or str(ipaddress.ip_network(text)) != text or "%" in text:
                raise ValueError
        except ValueError:
            raise broken(where, "must be networks in their usual spelling") from None
    return frozenset(value)


def check_looks(reality: dict[str, Any], where: str) -> None:
    """The public part of REALITY, by the rules that profiles obey too."""
    names, short_ids = reality["serverNames"], reality["shortIds"]
    if type(names) is not list or type(short_ids) is not list:
        raise broken(where, "must have lists of serverNames and shortIds")
    try:
        split_target(reality["target"])
        check_server_names(tuple(names))
        check_short_ids(tuple(short_ids))
    except ParameterError as error:
        raise broken(where, str(error)) from error

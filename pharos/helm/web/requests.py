"""Reading what a caller sent: strict JSON into a typed body, the version it saw, a list's query."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from quart import request

from pharos.helm.errors import InvalidRequestError, PreconditionError
from pharos.helm.store.pages import DEFAULT_LIMIT, Query

B = TypeVar("B")

# A 64-bit number has 19 digits; a million of them would take Python minutes to read (security.md row 43).
MAX_DIGITS: Final = 20
_ETAG: Final = re.compile(r'"(0|[1-9][0-9]{0,17})"')
_PAGING: Final = frozenset({"sort", "limit", "cursor"})


async def read_body(kind: type[B]) -> B:
    """Return the request's JSON as ``kind``, a msgspec struct.

    Raises: InvalidRequestError — it is no JSON object, or does not fit; the message says where.
    """
    if request.mimetype != "application/json":
        raise InvalidRequestError("the body has to be JSON: send Content-Type: application/json")
    return convert(load_strict(await read_octets()), kind)


async def read_octets() -> bytes:
    """Return the request's body as it came."""
    data = await request.get_data(as_text=False)
    assert isinstance(data, bytes), "it was not asked for as text"
    return data


def convert(value: object, kind: type[B]) -> B:
    """Return a decoded document as ``kind``.

    Raises: InvalidRequestError — it does not fit.
    """
    try:
        return msgspec.convert(value, kind, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidRequestError(f"the body does not fit: {error}") from error


def load_strict(data: bytes) -> object:
    """Decode a JSON document that has one meaning only (RFC 8259 §4, §8).

    Raises: InvalidRequestError — it is no JSON, names a member twice, or holds NaN, an endless number or half a
    surrogate pair.
    """
    try:
        text = data.decode("utf-8")
        value: object = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_float
        )
        # "\ud800" is JSON, but no text: it could be stored nowhere.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except InvalidRequestError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("the body is not a JSON document") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequestError("the body names a member twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequestError(f"{name} is not a number that JSON knows")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InvalidRequestError("the body holds a number that is too large")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > 2 * MAX_DIGITS:
        raise InvalidRequestError("the body holds a number with too many digits")
    return float(digits)


def seen_version(*, least: int = 1) -> int:
    """Return the version that the caller saw, by its If-Match header; 0, where it is allowed, of what was not there.

    Raises: PreconditionError — it names none.
    """
    header = request.headers.get("If-Match", "")
    match = _ETAG.fullmatch(header.removeprefix("W/"))
    if match is None or int(match[1]) < least:
        raise PreconditionError('say which version you saw: If-Match: "<version>", as the ETag gave it')
    return int(match[1])


def read_query(*, long: str = "") -> Query:
    """Return what the request asks of a list: every other parameter is a filter; ``sort=-name`` is descending.

    The value of the filter ``long`` may be so: it holds many ids.

    Raises: InvalidRequestError — a parameter stands twice, or the limit is no number.
    """
    arguments: dict[str, list[str]] = request.args.to_dict(flat=False)
    values: dict[str, str] = {}
    for name, given in arguments.items():
        if len(given) != 1:
            raise InvalidRequestError(f"{name!r} stands twice in the query")
        values[name] = given[0]
        if not values[name].isprintable() or len(values[name]) > (MAX_LONG if name == long else MAX_VALUE):
            raise InvalidRequestError(f"{name!r} has a value that no record has")
    sort = values.get("sort", "created_at")
    limit = values.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4):
        raise InvalidRequestError(f"the limit has to be a number, not {limit!r}")
    return Query(
        filters={name: value for name, value in values.items() if name not in _PAGING},
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
        limit=int(limit),
        cursor=values.get("cursor", ""),
    )


# Names have 64 characters, cursors some 150.
MAX_VALUE: Final = 512
# A hundred ids of 36 characters, and commas.
MAX_LONG: Final = 8_192

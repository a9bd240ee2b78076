"""Canonical JSON: one value, one spelling, so that what was signed is what is read.

Keys sorted, no spaces, ASCII with `\\u` escapes, no NaN and no infinity. A reader takes a document only if writing
it again gives the same bytes, which rules out doubled keys and every other second spelling.
"""

import json
from typing import Final

# Made once: `json.dumps` makes one for each call that asks for anything special.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def encode_canonical(value: dict[str, object]) -> bytes:
    """Return the one spelling of a JSON object."""
    return _ENCODER.encode(value).encode("ascii")


def decode_canonical(data: bytes) -> dict[str, object]:
    """Return the object that `data` spells. The caller has bounded its size.

    Raises: ValueError — it is no JSON object, or not in its one spelling.
    """
    try:
        value: object = json.loads(data)
        if isinstance(value, dict) and encode_canonical(value) == data:
            return value
    except RecursionError as error:
        raise ValueError("a JSON document is nested too deeply") from error
    raise ValueError("a JSON document is not an object in canonical form")

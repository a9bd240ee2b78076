"""A batch of records as one JSON document, for a webhook. Sans-IO.

{"fleet": "…", "records": [{"id": "…", "source": "audit", "name": "device_revoked", …}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from pharos.helm.siem.records import Record

CONTENT_TYPE: Final = "application/json"


def encode(fleet: str, records: Sequence[Record]) -> bytes:
    """Return the body of one POST."""
    # Escaped to ASCII, so that no receiver's idea of line ends or encodings can matter.
    document = {"fleet": fleet, "records": [record.as_json() for record in records]}
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def size_of(record: Record) -> int:
    """Return how many octets a record adds to a body."""
    return len(json.dumps(record.as_json(), separators=(",", ":"))) + 1

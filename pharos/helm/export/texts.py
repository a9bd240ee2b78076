"""An export as YAML that shows in a diff what was changed, and nothing else. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

# The C emitter takes a tenth of the time; both write the same.
_Base: Final[type] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_WIDTH: Final = 4_096
"""A text stays on its line, so that a word more is one line of a diff."""


def one_text(document: Mapping[str, Any]) -> str:
    """Return the whole as one document."""
    return _dump(dict(document))


def many_texts(document: Mapping[str, Any]) -> dict[str, str]:
    """Return a text for each noun, by the name of its file; what the fleet is stands in one of its own."""
    about = {name: value for name, value in document.items() if not isinstance(value, list)}
    texts = {"fleet.yaml": _dump(about)}
    for noun, records in document.items():
        if isinstance(records, list):
            texts[f"{noun}.yaml"] = _dump(records)
    return texts


def _dump(value: object) -> str:
    text: str = yaml.dump(value, Dumper=_Base, sort_keys=False, allow_unicode=True, width=_WIDTH, indent=2)
    return text

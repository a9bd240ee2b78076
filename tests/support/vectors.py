"""Published test vectors, which live beside the project rather than in it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE_THE_PROJECT = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"


def vectors_folder() -> Path:
    """Find ``$PHAROS_VECTORS`` or ``../shared/vectors``; skip the test, with one line, when there is none."""
    folder = Path(os.environ.get("PHAROS_VECTORS") or _BESIDE_THE_PROJECT)
    if not folder.is_dir():
        pytest.skip(f"published test vectors are not at {folder} (set PHAROS_VECTORS)", allow_module_level=True)
    return folder


def load_vectors(name: str) -> dict[str, Any]:
    """Load one JSON file of the vectors by its path inside their folder."""
    with (vectors_folder() / name).open(encoding="utf-8") as file:
        loaded: dict[str, Any] = json.load(file)
    return loaded

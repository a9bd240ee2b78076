"""The page under test is made from the sources beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "packaging/spa.py"


@pytest.fixture(scope="session")
def built_page() -> None:
    """Bring the built page up to date: seconds, or nothing when it is."""
    subprocess.run([sys.executable, str(SCRIPT)], check=True)

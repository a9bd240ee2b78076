"""A real Xray as a peer, where there is one: on the PATH, or named by ``PHAROS_XRAY``."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = os.environ.get("PHAROS_XRAY") or shutil.which("xray")

needs_xray = pytest.mark.skipif(PROGRAM is None, reason="xray is not on the PATH")


def unpadded(octets: bytes) -> str:
    """Keys as Xray writes them."""
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


@contextmanager
def running_xray(directory: Path, inbounds: list[dict[str, Any]], outbounds: list[dict[str, Any]]) -> Iterator[None]:
    """Run Xray until the block ends; it listens when the block begins."""
    assert PROGRAM is not None, "the test is marked"
    path = directory / "config.json"
    document = {"log": {"loglevel": "warning"}, "inbounds": inbounds, "outbounds": outbounds}
    path.write_text(json.dumps(document))
    with subprocess.Popen(
        [PROGRAM, "run", "-c", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if "started" in line:
                    break
            else:
                pytest.fail("Xray did not start:\n" + "".join(said))
            # What it says from now on is little, and fits into the pipe.
            yield
        finally:
            process.terminate()

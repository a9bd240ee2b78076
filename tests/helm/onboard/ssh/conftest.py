"""Helm's state, for its SSH keys and pins."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.helm.onboard.ssh import SshKeys


@pytest.fixture
def state(tmp_path: Path) -> SshKeys:
    # A name that ssh's configuration would take for several words, and for a token of its own.
    folder = tmp_path / 'my "helm" 100%h'
    folder.mkdir(mode=0o700)
    return SshKeys.open_keys(folder)

"""Xray's configuration as files, in a directory that no reboot outlives: it holds the node's key and all user ids."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.xray.model import CONFIG_NAME, XrayConfig, render
from pharos.buoy.xray.validate import check_rendered
from pharos.wire.errors import ParameterError
from pharos.wire.files import write_atomic
from pharos.wire.world import this_world

CANDIDATE_NAME: Final = "candidate.json"
CONFIG_MODE: Final = 0o640
"""The agent writes, and Xray, which is in the directory's group, reads."""


def candidate_of(config: XrayConfig) -> Path:
    """Where a configuration waits until it was tested; Xray goes by the ending."""
    return config.file.with_name(CANDIDATE_NAME)


def write_candidate(config: XrayConfig) -> Path:
    """Check and write a configuration, whole or not at all, beside the one in use; blocks for the disk.

    Raises: EngineError — it breaks a rule, or the directory cannot be written to.
    """
    path = candidate_of(config)
    try:
        data = render(config.document())
        check_rendered(data, runtime=config.runtime)
        write_atomic(path, data, mode=CONFIG_MODE)
    except ParameterError as error:
        raise EngineError(str(error)) from error
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror}") from error
    return path


def keep_config(config: XrayConfig) -> None:
    """Put the candidate in the place of the configuration in use. Raises: EngineError."""
    try:
        this_world().replace(candidate_of(config), config.file)
    except OSError as error:
        raise EngineError(f"{config.file} cannot be replaced: {error.strerror}") from error


def discard_config(runtime: Path) -> None:
    """Leave nothing that Xray could start with. Raises: EngineError."""
    try:
        for name in (CONFIG_NAME, CANDIDATE_NAME):
            this_world().unlink(runtime / name, missing_ok=True)
    except OSError as error:
        raise EngineError(f"{runtime} cannot be cleared: {error.strerror}") from error

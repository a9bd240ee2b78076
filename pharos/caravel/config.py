"""Where a device keeps what it is."""

from __future__ import annotations

from typing import Final

import platformdirs

DEFAULT_STATE: Final = platformdirs.user_data_path("pharos") / "caravel"

"""Row 60, with the program itself: `wg-quick`, as root, reads what we write, and no file appears that nobody asked for.

awg-quick is the same script with another name in it. It runs the hooks of a file before it makes the interface, so it
need not come further than that; its network is one of its own, which is gone when it ends.

Takes 2 s.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pharos.wire.awg import conf
from pharos.wire.awg.conf import TunnelConf, render
from pharos.wire.errors import ParameterError
from tests.attacks.test_a60_hooks import FIELDS, section_of

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("wg-quick") is None, reason="wg-quick runs as root"),
]
CANARY = "canary"
# Each would be run by a shell that was given it, or by wg-quick if it became a line.
COMMANDS = [
    "a\n[Interface]\nPreUp = touch {0}\n#",
    "a\r[Interface]\rPreUp = touch {0}\r#",
    "a\x0b[Interface]\x0bPreUp = touch {0}",
    "a # \u2028PreUp = touch {0}",
    "$(touch {0})",
    "`touch {0}`",
    "a; touch {0}",
    "a | touch {0}",
    "a && touch {0}",
    "10.0.0.1; touch {0}",
    "10.0.0.1/32\nPreUp = touch {0}",
    "fe80::1%$(touch {0})",
    "'; touch {0}; '",
    "a[$(touch {0})]",
]


def brings_up(folder: Path, written: str) -> bool:
    """Have root's wg-quick read a file, in a network of its own; return whether the canary is there then."""
    path, canary = folder / "wgtest.conf", folder / CANARY
    path.write_text(written)
    path.chmod(0o600)
    words = ["unshare", "--net", "wg-quick", "up", str(path)]
    subprocess.run(words, cwd=folder, capture_output=True, timeout=30, check=False)
    there = canary.exists()
    canary.unlink(missing_ok=True)
    return there


def taken(field: str, text: str) -> TunnelConf | None:
    try:
        return section_of(field, text)
    except ParameterError:
        return None


def test_a60_turns_red_where_a_file_is_written_from_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "check_fields", lambda section, keys: None)
    hostile = section_of("dns", COMMANDS[0].format(tmp_path / CANARY))
    assert brings_up(tmp_path, render(hostile))


@pytest.mark.parametrize("command", COMMANDS)
def test_a60_canary_file_is_never_created(command: str, tmp_path: Path) -> None:
    text = command.format(tmp_path / CANARY)
    for field in FIELDS:
        if (accepted := taken(field, text)) is not None:
            assert not brings_up(tmp_path, render(accepted)), (field, text)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(FIELDS), before=st.text("0123456789.:/%aef", max_size=12), end=st.sampled_from(COMMANDS))
def test_a60_canary_file_is_not_created_behind_what_looks_right(
    tmp_path: Path, field: str, before: str, end: str
) -> None:
    accepted = taken(field, before + end.removeprefix("a").format(tmp_path / CANARY))
    assert accepted is None or not brings_up(tmp_path, render(accepted))


def test_a60_file_as_it_is_meant_is_read_and_leaves_nothing(tmp_path: Path) -> None:
    """The proof that a file of ours comes as far as the hooks: one that asks for a hook gets it."""
    plain = "[Interface]\nPrivateKey = " + "A" * 43 + "=\n"
    assert not brings_up(tmp_path, plain)
    assert brings_up(tmp_path, plain + f"PreUp = touch {tmp_path / CANARY}\n")

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.xray.version import Abilities, Call, parse_version, probe, spell
from tests.buoy.xray.double import make_program
from tests.support.xray import PROGRAM, needs_xray


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Xray 26.3.27 (Xray, Penetrates Everything.) Custom (go1.26.8 linux/amd64)\nA unified …\n", (26, 3, 27)),
        ("Xray 24.11.21 (Xray, Penetrates Everything.) d6e6d5c", (24, 11, 21)),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int, int]) -> None:
    assert parse_version(text) == version
    assert spell(version) in text


@pytest.mark.parametrize("text", ["", "V2Ray 5.1.0", "xray 26.3.27", "Xray 26.3", "Xray a.b.c", "Xray 99999.1.1"])
def test_what_is_no_xray_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="which Xray"):
        parse_version(text)


def test_what_is_too_old_is_refused() -> None:
    with pytest.raises(EngineError, match=r"1\.8\.24 is too old"):
        parse_version("Xray 1.8.24 (Xray, Penetrates Everything.)")


def test_a_call_is_there_from_its_version_on_and_until_it_was_unknown() -> None:
    assert not Abilities((25, 2, 17)).has(Call.ONLINE_ADDRESSES)
    abilities = Abilities((25, 2, 18))
    assert abilities.has(Call.ONLINE_ADDRESSES)
    abilities.forget(Call.ONLINE_ADDRESSES)
    assert not abilities.has(Call.ONLINE_ADDRESSES)


async def test_a_program_is_asked(tmp_path: Path) -> None:
    assert await probe(make_program(tmp_path, version="25.1.30")) == (25, 1, 30)
    with pytest.raises(EngineError, match="cannot be run"):
        await probe(tmp_path / "nothing")


@needs_xray
async def test_a_real_one_says_which_it_is() -> None:
    assert await probe(Path(str(PROGRAM))) >= (24, 11, 21)

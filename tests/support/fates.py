"""Links end in one of several ways at once: their tasks each notice in their own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pharos.wire.errors import LinkLostError


@contextmanager
def meets(*kinds: type[Exception], match: str = "") -> Iterator[None]:
    """Expect one of ``kinds`` from the block, alone or in groups; what comes beside it can only be a loss."""
    with pytest.raises(Exception) as caught:
        yield
    raised = caught.value
    group = raised if isinstance(raised, ExceptionGroup) else ExceptionGroup("alone", [raised])
    expected, rest = group.split(kinds)
    assert expected is not None, f"none of {kinds} in {raised!r}"
    assert any(re.search(match, str(leaf)) for leaf in _leaves(expected)), f"nobody says {match!r} in {raised!r}"
    assert rest is None or rest.split(LinkLostError)[1] is None, f"more than a loss beside it: {raised!r}"


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for inner in group.exceptions:
        if isinstance(inner, ExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner

"""A route matches from the start, and can be built into an address whenever somebody asks."""

from __future__ import annotations

import pytest
import werkzeug.routing.rules
from quart import url_for
from quart_trio import QuartTrio

from pharos.helm.web.routes import MatchingRule


async def shown(name: str) -> str:
    return f"{name} at {url_for('shown', name=name, page=2)}"


def make_app() -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    app.url_rule_class = MatchingRule
    app.add_url_rule("/nodes/<name>", "shown", shown)
    return app


async def test_route_matches_and_its_address_is_built() -> None:
    answer = await make_app().test_client().get("/nodes/a%20b")
    assert await answer.get_data(as_text=True) == "a b at /nodes/a%20b?page=2"


def test_nothing_is_compiled_for_addresses_that_nobody_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*_arguments: object, **_more: object) -> None:
        raise AssertionError("werkzeug compiled a builder")

    monkeypatch.setattr(werkzeug.routing.rules.Rule, "_compile_builder", compiled)
    make_app()
    with pytest.raises(AssertionError, match="compiled a builder"):
        QuartTrio(__name__, static_folder=None).add_url_rule("/nodes/<name>", "shown", shown)

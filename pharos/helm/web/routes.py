"""The routes of helm's web edge: they match addresses, and almost never build one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quart.routing import QuartRule


class MatchingRule(QuartRule):
    """A route that compiles what ``url_for`` needs when it is first asked for it.

    werkzeug compiles two functions for every route as soon as it is added: two thirds of the time in which helm's
    applications are made, and helm calls none of them.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_builder, compiled = super()._compile_builder, None

        def build(rule: QuartRule, **values: Any) -> tuple[str, str]:
            nonlocal compiled
            if compiled is None:
                compiled = compile_builder(append_unknown)
            return compiled(rule, **values)

        return build

"""axe in a tab: what of WCAG 2.0 to 2.2, A and AA, and of best practice a page does not keep."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

SCRIPT: Final = Path(__file__).resolve().parents[2] / "frontend/node_modules/axe-core/axe.min.js"
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
ASK: Final = """async ([tags, only, exclude]) => {
  const runOnly = only.length ? {type: 'rule', values: only} : {type: 'tag', values: tags};
  const found = await axe.run({exclude: exclude.map(selector => [selector])}, {runOnly, resultTypes: ['violations']});
  return found.violations.map(({id, impact, nodes}) => ({id, impact, nodes: nodes.map(
    ({target, failureSummary}) => `${target.join(' ')}: ${failureSummary.replaceAll('\\n', ' ')}`)}));
}"""


@functools.cache
def script() -> str:
    if not SCRIPT.is_file():
        raise RuntimeError("axe-core is not in frontend/node_modules; run: make spa")
    return SCRIPT.read_text()


def violations(page: Page, *, only: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    """Return what is wrong, a line for each element; ``only`` names rules, ``exclude`` CSS selectors."""
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(script())
    found: list[dict[str, Any]] = page.evaluate(ASK, [list(TAGS), list(only), list(exclude)])
    return [f"{rule['id']} ({rule['impact']}): {node}" for rule in found for node in rule["nodes"]]

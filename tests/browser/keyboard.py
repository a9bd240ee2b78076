"""A person without a pointer: walks by Tab, and sees where they are."""

from __future__ import annotations

from typing import Final

from tests.browser.tabs import Tab

MOST: Final = 120
"""Stops after which somebody would give up."""
# As a screen reader would say it, about.
NAME: Final = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return '';
  const says = name => element.getAttribute(name) ?? '';
  const by = says('aria-labelledby').split(' ').map(id => document.getElementById(id)?.textContent ?? '').join(' ');
  const names = [says('aria-label'), by, element.labels?.[0]?.textContent, element.textContent, says('title')];
  return (names.find(name => name?.trim()) ?? '').trim().replace(/\\s+/g, ' ');
}"""


def focused(tab: Tab) -> str:
    """Return the name of what has the focus."""
    return str(tab.page.evaluate(NAME))


def reach(tab: Tab, name: str, *, back: bool = False) -> None:
    """Press Tab until the control of that name has the focus; on the way its ring is always seen."""
    passed: list[str] = []
    for _ in range(MOST):
        here = focused(tab)
        if here.startswith(name):
            ring = tab.page.evaluate("checks.ring()")
            assert ring["ringed"], f"nobody sees that {here} has the focus"
            assert not ring["hidden"], f"{here} has the focus under {ring['over']}"
            return
        passed.append(here)
        tab.page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"the keyboard does not reach {name!r}; it passed {passed[-MOST:]}")


def press(tab: Tab, name: str, *, back: bool = False) -> None:
    """Walk to a button, and press it."""
    reach(tab, name, back=back)
    tab.page.keyboard.press("Enter")


def fill(tab: Tab, name: str, text: str) -> None:
    """Walk to a field, and write into it in place of what is there."""
    reach(tab, name)
    tab.page.keyboard.press("Control+a")
    tab.page.keyboard.type(text)

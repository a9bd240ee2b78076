"""Colours of a page as numbers: contrast by WCAG, and what a picture shows."""

from __future__ import annotations

import base64
import re
from typing import Any, Final

from playwright.sync_api import Browser, Page

Colour = tuple[float, float, float, float]
"""Red, green, blue from 0 to 255, and how much of what is behind it it hides, 0 to 1."""

# The browser itself works out what a token is: names, hexadecimal, any syntax.
RESOLVE: Final = """names => {
  const probe = document.body.appendChild(document.createElement('i'));
  const found = names.map(name => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color });
  probe.remove();
  return found;
}"""
# On a page of nobody, whose policy allows everything.
DECODE: Final = """async ([text, size]) => {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
  const [width, height] = size ?? [picture.width, picture.height];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d');
  context.drawImage(picture, 0, 0, width, height);
  const {data} = context.getImageData(0, 0, width, height);
  const grey = at => 0.2126 * data[at] + 0.7152 * data[at + 1] + 0.0722 * data[at + 2];
  return Array.from({length: width * height}, (_, pixel) => grey(4 * pixel));
}"""


def tokens(page: Page, *names: str) -> dict[str, Colour]:
    """Return the colours of custom properties as they are in force."""
    found: list[str] = page.evaluate(RESOLVE, [f"--{name}" for name in names])
    return {name: _read(text) for name, text in zip(names, found, strict=True)}


def _read(text: str) -> Colour:
    numbers = [float(number) for number in re.findall(r"[\d.]+", text)]
    assert len(numbers) in (3, 4), text
    return numbers[0], numbers[1], numbers[2], numbers[3] if len(numbers) == 4 else 1.0


def over(above: Colour, below: Colour) -> Colour:
    """Return what is seen where one colour lies over another that hides everything."""
    red, green, blue = (a * above[3] + b * (1 - above[3]) for a, b in zip(above[:3], below[:3], strict=True))
    return red, green, blue, 1.0


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio (WCAG 2.2, 1.4.3), from 1 to 21."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def greys(browser: Browser, pictures: list[bytes], *, size: tuple[int, int] | None = None) -> list[list[float]]:
    """Return PNGs in grey-scale, pixel by pixel from 0 to 255, scaled to ``size``."""
    page = browser.new_page()
    try:
        wanted: list[Any] = [list(size) if size else None]
        return [page.evaluate(DECODE, [base64.b64encode(picture).decode(), *wanted]) for picture in pictures]
    finally:
        page.close()

"""`make screenshots`: the pictures that README and docs show, of a real helm with an invented fleet.

python -m tests.browser.pictures [--only NAME] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
from playwright.sync_api import Browser

from tests.browser.tabs import PROGRAM, Tab, open_browser, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet, open_web_fleet

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "docs/images"
ADMIN: Final = "Mara Lindqvist"
LARGEST: Final = 200_000
"""Octets of a picture: a clone shall not be heavy for them."""


def nothing(_tab: Tab, _fleet: WebFleet) -> None:
    pass


def open_invitation(tab: Tab, _fleet: WebFleet) -> None:
    """Invite a device, with the card that is shown once."""
    tab.page.keyboard.press("i")
    tab.page.get_by_label("Name of the device").fill("Telephone at the gate")
    tab.page.get_by_role("button", name="Make invitation").click()
    tab.page.locator("svg.code").wait_for()


def open_palette(tab: Tab, _fleet: WebFleet) -> None:
    tab.page.keyboard.press("Control+k")
    tab.page.get_by_role("dialog").get_by_role("combobox").fill("fra")
    tab.page.get_by_role("option").first.wait_for()


@attrs.frozen(kw_only=True)
class Picture:
    """One of them."""

    name: str
    path: str
    """Below helm's address; ``{fra-1}`` stands for the id of that node."""
    theme: str = "light"
    width: int = 1440
    signed_in: bool = True
    act: Callable[[Tab, WebFleet], None] = nothing
    """What is done before it is taken."""


PICTURES: Final = (
    Picture(name="overview", path="/"),
    Picture(name="overview-dark", path="/", theme="dark"),
    Picture(name="overview-360", path="/", width=360, theme="dark"),
    Picture(name="sign-in", path="/", signed_in=False),
    Picture(name="nodes", path="/nodes"),
    Picture(name="nodes-360", path="/nodes", width=360),
    Picture(name="node-dark", path="/nodes/{fra-1}", theme="dark"),
    Picture(name="add-node", path="/nodes/add"),
    Picture(name="relays", path="/relays"),
    Picture(name="users", path="/users"),
    Picture(name="devices", path="/devices"),
    Picture(name="devices-360", path="/devices", width=360),
    Picture(name="invite-dark", path="/devices", theme="dark", act=open_invitation),
    Picture(name="profiles", path="/profiles"),
    Picture(name="sessions-dark", path="/sessions", theme="dark"),
    Picture(name="alerts", path="/alerts"),
    Picture(name="audit", path="/audit"),
    Picture(name="certificates", path="/certificates"),
    Picture(name="admins", path="/admins"),
    Picture(name="settings", path="/settings"),
    Picture(name="palette-dark", path="/", theme="dark", act=open_palette),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="take this picture; may be given again")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where they go")
    arguments = parser.parse_args()
    if PROGRAM is None:
        print("there is no Chromium on this machine: apt install chromium", file=sys.stderr)
        return 1
    subprocess.run([sys.executable, str(ROOT / "packaging/spa.py")], check=True)
    wanted = [picture for picture in PICTURES if not arguments.only or picture.name in arguments.only]
    return take(wanted, arguments.out)


LIGHTER: Final = Path(__file__).with_name("lighter.js")


def lighter(browser: Browser, picture: bytes) -> bytes:
    """Return a picture that looks the same in fewer octets; made on a page of nobody."""
    page = browser.new_page()
    try:
        made: str = page.evaluate(LIGHTER.read_text(), base64.b64encode(picture).decode())
    finally:
        page.close()
    return min(picture, base64.b64decode(made), key=len)


def take(wanted: list[Picture], folder: Path) -> int:
    """Take pictures; return how many are too large."""
    folder.mkdir(exist_ok=True)
    large = 0
    with (
        tempfile.TemporaryDirectory() as state,
        open_web_fleet(Path(state), story="skerry", patient=True) as fleet,
        open_browser() as browser,
    ):
        admin = signed_in(fleet, ADMIN)
        ids = {node["name"]: node["id"] for node in fleet.get("/nodes?limit=100")["items"]}
        for picture in wanted:
            with open_tab(
                browser,
                fleet.address,
                cookie=admin if picture.signed_in else None,
                width=picture.width,
                theme=picture.theme,
                still=True,
            ) as tab:
                tab.page.goto(fleet.address + picture.path.format(**ids))
                if picture.signed_in:
                    tab.wait_shown()
                else:
                    tab.page.wait_for_selector("main h1")
                picture.act(tab, fleet)
                tab.page.evaluate("document.fonts.ready.then(() => null)")
                # Figures, charts and the world come after the first paint.
                tab.page.wait_for_timeout(1_500)
                target = folder / f"{picture.name}.png"
                target.write_bytes(lighter(browser, tab.page.screenshot(animations="disabled", caret="hide")))
            size = target.stat().st_size
            print(f"{target}: {size // 1000} kB")
            if size > LARGEST:
                print(f"{target} has more than {LARGEST // 1000} kB", file=sys.stderr)
                large += 1
    return large


if __name__ == "__main__":
    sys.exit(main())

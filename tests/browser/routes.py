"""The pages of the app, as its router knows them; those about one record are asked for by `tests.browser.tabs`."""

from __future__ import annotations

from typing import Final

ROUTES: Final = (
    "/",
    "/nodes",
    "/nodes/add",
    "/relays",
    "/users",
    "/groups",
    "/devices",
    "/profiles",
    "/sessions",
    "/alerts",
    "/audit",
    "/certificates",
    "/admins",
    "/settings",
    "/account",
)
"""For whoever is signed in as an owner."""

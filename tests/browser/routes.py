"""The pages of the app, as its router knows them; those about one record are asked for by `tests.browser.tabs`."""

from __future__ import annotations

from typing import Final

ROUTES: Final = (
    "/",
    "/nodes",
    "/nodes/add",
    "/nodes/upgrades",
    "/relays",
    "/users",
    "/groups",
    "/devices",
    "/profiles",
    "/sessions",
    "/alerts",
    "/alerts/past",
    "/alerts/delivery",
    "/events",
    "/audit",
    "/certificates",
    "/recovery",
    "/admins",
    "/settings",
    "/account",
)
"""For whoever is signed in as an owner."""

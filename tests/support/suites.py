"""The suites that need root, Chromium or minutes; each is a marker of its name."""

HEAVY = ("system", "journey", "browser", "sim")

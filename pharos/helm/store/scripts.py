"""Several statements in one transaction."""

from __future__ import annotations

from sqlite_utils import Database


def run_script(db: Database, statements: str) -> None:
    """Run statements that are parted by semicolons."""
    # executescript() would commit the migration's own transaction first.
    for statement in statements.split(";"):
        if statement.strip():
            db.execute(statement)

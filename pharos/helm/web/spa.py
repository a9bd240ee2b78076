"""The admin page, as `make spa` built it into the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from quart import Blueprint, Response, send_from_directory

from pharos.helm.web.problems import problem

FOLDER: Final = Path(__file__).parent / "_spa"
# The bundler names these files by their content, so a name never means two contents.
IMMUTABLE: Final = "_app/immutable/"


def make_spa_blueprint(folder: Path = FOLDER) -> Blueprint:
    """Serve the built files; every path that is no file is a route of the page itself."""
    blueprint = Blueprint("spa", __name__)

    @blueprint.get("/")
    @blueprint.get("/<path:path>")
    async def spa(path: str = "index.html") -> Response:
        if path.startswith("api/"):
            return problem(404, "there is no such resource")
        if not (folder / "index.html").is_file():
            return problem(404, "the admin page is not built into this installation; run: make spa")
        # Only whether it exists is asked here; send_from_directory refuses paths that leave the folder.
        known = (folder / path).is_file() and not any(part.startswith(".") for part in path.split("/"))
        response = await send_from_directory(folder, path if known else "index.html")
        if known and path.startswith(IMMUTABLE):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        else:
            response.headers["Cache-Control"] = "no-cache"
        return response

    return blueprint

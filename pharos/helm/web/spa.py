"""The admin page, as `make spa` built it into the package."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

import trio
from quart import Blueprint, Response, request

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
        known = _is_public(folder, path)
        target = folder / (path if known else "index.html")
        packed = target.with_name(f"{target.name}.gz")
        # Nothing secret is in these files, so how long they are compressed tells nothing.
        smaller = request.accept_encodings["gzip"] > 0 and packed.is_file()
        # The files are small. Streaming one would leave it open when a browser goes away in the middle.
        content = await trio.Path(packed if smaller else target).read_bytes()
        response = Response(content, mimetype=mimetypes.guess_type(target.name)[0] or "application/octet-stream")
        response.headers["Vary"] = "Accept-Encoding"
        if smaller:
            response.headers["Content-Encoding"] = "gzip"
        await response.add_etag()
        await response.make_conditional(request)
        if known and path.startswith(IMMUTABLE):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
            # No document is among them; the page's own policy would be a third of what the smallest ones weigh.
            response.headers["Content-Security-Policy"] = "default-src 'none'"
        else:
            response.headers["Cache-Control"] = "no-cache"
        return response

    return blueprint


def _is_public(folder: Path, path: str) -> bool:
    """Return whether ``path`` is a file of the page: below its folder, and no dotfile."""
    if not path.isprintable() or any(part.startswith(".") for part in path.split("/")):
        return False
    target = (folder / path).resolve()
    return target.is_relative_to(folder.resolve()) and target.is_file()

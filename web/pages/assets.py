"""The files of `static/`, kept in memory and named by their content: a browser asks once."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parent.parent / "static"
# A year, the most that RFC 9111 asks caches to believe.
FOR_EVER = "public, max-age=31536000, immutable"
_SMALL = 1000

router = APIRouter(include_in_schema=False)


class Asset(NamedTuple):
    content: bytes
    # None when that is no shorter.
    zipped: bytes | None
    type: str
    version: str


@cache
def assets() -> dict[str, Asset]:
    """Return every file of the folder by name."""
    return {path.name: _asset(path) for path in sorted(FOLDER.iterdir()) if path.is_file()}


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    zipped = gzip.compress(content, mtime=0) if len(content) > _SMALL else None
    type_ = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if type_.startswith("text/"):
        type_ += "; charset=utf-8"
    if zipped is not None and len(zipped) >= len(content):
        zipped = None
    return Asset(content, zipped, type_, hashlib.sha256(content).hexdigest()[:12])


def asset(name: str) -> str:
    """Return the address of a file, which changes with its content. Raises KeyError for one that is not there."""
    return f"/static/{name}?v={assets()[name].version}"


@router.get("/static/{name}")
def serve(request: Request, name: str) -> Response:
    found = assets().get(name)
    if found is None:
        raise HTTPException(404)
    headers = {"ETag": f'"{found.version}"', "Vary": "Accept-Encoding"}
    # Under another version's name this is what a rolled back or newer server has; it must not stay.
    headers["Cache-Control"] = FOR_EVER if request.query_params.get("v") == found.version else "no-cache"
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if found.zipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.zipped, media_type=found.type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(found.content, media_type=found.type, headers=headers)

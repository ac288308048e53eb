"""Bodies of requests: read within a limit, understood or refused with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import Request

from parcours.domain import gate
from parcours.web.problems import ProblemError


async def read_body(request: Request) -> bytes:
    """Return the body of a request. Raises ProblemError (413) when it is longer than `max_body_bytes`."""
    return await read_at_most(request, request.app.state.max_body_bytes)


async def read_at_most(request: Request, limit: int) -> bytes:
    """Return the body of a request.

    Raises ProblemError (413) for one of more than so many bytes: before anything is read when its header says so, so
    that a client that asks first sends none of it; otherwise as soon as it is longer.
    """
    too_long = ProblemError(413, f"the body is longer than {limit:,} bytes; send less per request")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise too_long
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_long
        chunks.append(chunk)
    return b"".join(chunks)


def read_json(raw: bytes) -> Any:
    """Return the JSON value of a body in UTF-8. Raises ProblemError (400)."""
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, f"the body is not JSON in UTF-8 ({gate.why_not_json(error)})") from None


def read_objects(raw: bytes) -> list[Any]:
    """Return the items of a body that is one JSON object or a list. Raises ProblemError (400)."""
    value = read_json(raw)
    if not isinstance(value, dict | list):
        raise ProblemError(400, "the body must be a JSON object or a list of them")
    return value if isinstance(value, list) else [value]


def content_type(request: Request) -> str:
    """Return the media type of a body in small letters, without its parameters; empty when there is none."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def check_content_type(request: Request, known: tuple[str, ...]) -> None:
    """Raise ProblemError (415) for a body of another type, or one that is packed."""
    found = content_type(request)
    if found not in known:
        about = f"{found[:80]!r} is not supported" if found else "the content type is missing"
        raise ProblemError(415, f"{about}; send {', '.join(known)}", headers={"Accept": ", ".join(known)})
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ProblemError(
            415, f"the content encoding {encoding[:40]!r} is not supported; send the body without content encoding"
        )


def takes(*known: str) -> Callable[[Request], None]:
    """Return a dependency that refuses bodies of other types than these."""

    def check(request: Request) -> None:
        check_content_type(request, known)

    return check


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")

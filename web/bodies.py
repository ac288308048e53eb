"""Bodies of requests, read up to a limit."""

from __future__ import annotations

from fastapi import Request

from web.problems import ProblemError


async def read_body(request: Request) -> bytes:
    """Return the body of a request, as it comes: what a header says of its length is not believed.

    Raises ProblemError (413) as soon as it is longer than the limit.
    """
    limit: int = request.app.state.max_body_bytes
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise ProblemError(413, f"the body is longer than {limit:,} bytes; send less at once")
        chunks.append(chunk)
    return b"".join(chunks)

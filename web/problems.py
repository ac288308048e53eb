"""Errors as problem details. Source: RFC 9457."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

PROBLEM = "application/problem+json"


def problems(why: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of problems: each status with its description."""
    return {status: {"content": {PROBLEM: {}}, "description": said} for status, said in why.items()}


class ProblemError(Exception):
    """A request that is refused; the sentence says why and what to do."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        # Members of the problem's own.
        self.extensions = dict(extensions or {})

    def response(self) -> JSONResponse:
        """Return the answer."""
        return problem(self.status, self.detail, headers=self.headers, extensions=self.extensions)


def problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return a problem; its type is the status's own ("about:blank", which is left out)."""
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"title": title, "status": status, "detail": detail, **(extensions or {})},
        status_code=status,
        headers=dict(headers or {}),
        media_type=PROBLEM,
    )

"""The page of the HTTP interface, made on the server from the OpenAPI document: nothing is loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from parcours.web.pages.rendering import environment

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Operation:
    """One thing that a client may ask for."""

    method: str
    path: str
    summary: str
    description: str
    # Name, where it stands, whether it must be given, and what it is.
    parameters: list[tuple[str, str, bool, str]]
    # Content type, and an example or the schema as JSON.
    bodies: list[tuple[str, str]]
    # Status and what it says.
    answers: list[tuple[str, str]]


@router.get("/api/docs")
def page(request: Request) -> HTMLResponse:
    """Return the interface as a person reads it; `/api/openapi.json` is for programs."""
    document: dict[str, Any] = request.app.openapi()
    return HTMLResponse(
        environment()
        .get_template("docs.html")
        .render(info=document["info"], operations=list(_operations(document)), source=request.app.openapi_url)
    )


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, found in methods.items():
            parameters = [
                (each["name"], each["in"], bool(each.get("required")), _about(each))
                for each in found.get("parameters", ())
            ]
            content = found.get("requestBody", {}).get("content", {})
            yield Operation(
                method.upper(),
                path,
                found.get("summary", ""),
                found.get("description", ""),
                parameters,
                [(type_, _example(document, body)) for type_, body in content.items()],
                [(status, each.get("description", "")) for status, each in found.get("responses", {}).items()],
            )


def _about(parameter: Mapping[str, Any]) -> str:
    return str(parameter.get("description") or parameter.get("schema", {}).get("type", ""))


def _example(document: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Return an example of a body if the document has one, else its schema, named parts filled in once."""
    schema = body.get("schema", {})
    named = schema.get("$ref", "").rpartition("/")[2]
    if named:
        schema = document.get("components", {}).get("schemas", {}).get(named, schema)
    examples = body.get("examples") or {}
    first = next((each.get("value") for each in examples.values()), None) if isinstance(examples, Mapping) else None
    shown = body.get("example", first)
    if shown is None:
        shown = next(iter(schema.get("examples", ())), schema)
    return json.dumps(shown, indent=2, ensure_ascii=False)

"""Refusals over HTTP: problem documents (RFC 9457) with the sentences of the pages, also in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from data.errors import RetroDashError

MEDIA_TYPE = "application/problem+json"
STATUSES = {
    400: "A request that does not read, or a host name that is not ours",
    401: "Sign in first",
    403: "Another role is needed, or a page of another site asked",
    404: "No such thing",
    405: "Nothing takes this method here",
    409: "Understood, and not possible now",
    413: "The body is too large",
    422: "A value that does not fit",
    429: "Too many requests; `retry-after` says how long to wait",
    502: "The engine failed or is gone",
    503: "This machine lacks something",
    507: "The disk does not take it",
}


class Problem(BaseModel):
    """Why a request was not done."""

    model_config = ConfigDict(extra="allow")

    title: str
    """The class of the error, as in `data/errors.py`."""
    status: int
    detail: str
    """The sentence that pages show."""


def problem(
    status: int,
    detail: str,
    title: str = "Refused",
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> JSONResponse:
    """A problem document, with `more` fields where a kind of problem has some."""
    content = {"title": title, "status": status, "detail": detail, **more}
    return JSONResponse(content, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def add_problems(app: FastAPI) -> None:
    """Answer every error with a problem document, and say so in the OpenAPI document."""

    @app.exception_handler(RetroDashError)
    def on_error(request: Request, error: RetroDashError) -> JSONResponse:
        return problem(error.http_status, str(error), type(error).__name__)

    @app.exception_handler(RequestValidationError)
    def on_bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return problem(422, f"{where or 'The request'}: {first['msg']}.", "BadInput")

    @app.exception_handler(HTTPException)
    def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, f"{request.url.path[:200]}: {error.detail}", headers=error.headers)

    @app.exception_handler(Exception)
    def on_defect(request: Request, error: Exception) -> JSONResponse:
        # The trace is in the hub's log and not in the answer: it may hold paths and secrets.
        return problem(500, f"A defect in Retro Dash ({type(error).__name__}); see the hub's log.", "RetroDashError")

    app.openapi = lambda: _document(app)  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, in which every operation may answer with every problem."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        parts = document.setdefault("components", {})
        for name in ("HTTPValidationError", "ValidationError"):
            parts.get("schemas", {}).pop(name, None)
        parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        parts["responses"] = {
            f"Problem{status}": {"description": words, "content": content} for status, words in STATUSES.items()
        }
        refused = {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in STATUSES}
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"] |= refused
        app.openapi_schema = document
    return app.openapi_schema

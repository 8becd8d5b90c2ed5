"""Answers that are no JSON, each a class of its own so that the OpenAPI document names what they are."""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path

from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterable[str], status_code: int = 200) -> None:
        super().__init__(events, status_code, {"cache-control": "no-store"})


class JsonLines(StreamingResponse):
    media_type = "application/jsonl"


class Download(FileResponse):
    """A file to keep, whatever is in it."""

    media_type = "application/octet-stream"

    def __init__(
        self, path: Path, status_code: int = 200, *, filename: str, background: BackgroundTask | None = None
    ) -> None:
        super().__init__(path, status_code, media_type=self.media_type, filename=filename, background=background)

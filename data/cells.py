"""Values as the store keeps them: JSON text, naive UTC times, finite numbers."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from data.errors import BadInput

ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def as_json(value: Any) -> str:
    """JSON text; BadInput for what JSON cannot say (NaN, infinity)."""
    try:
        return ENCODER.encode(value)
    except ValueError as error:
        raise BadInput(f"A value cannot be stored as JSON ({error}): {str(value)[:200]}") from error


def optional_json(value: Any) -> str | None:
    return None if value is None else as_json(value)


def utc(time: datetime | None) -> datetime | None:
    """The instant as a naive UTC time; a naive time is taken as UTC already."""
    return time if time is None or time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)


def aware(time: datetime | None) -> Any:
    """A stored time with its zone: the store keeps naive UTC."""
    return time if time is None else time.replace(tzinfo=UTC)


def finite(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise BadInput(f"{what} is {value}; it must be a finite number.")
    return value

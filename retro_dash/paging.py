"""Where a list goes on: the `Link` header of RFC 8288, with an address relative to that of the request."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request, Response


def say_next(request: Request, response: Response, cursor: str | int) -> None:
    """The same question, from `cursor` on."""
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    response.headers["link"] = f'<?{urlencode([*others, ("cursor", cursor)])}>; rel="next"'

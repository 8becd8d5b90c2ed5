"""`/mcp`: the tools of `retro_dash.mcp_tools` over HTTP, for agents with a token. Off unless a setting says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException
from starlette.routing import Route

from data.errors import Refused, Unavailable
from retro_dash.address import HubAddress
from retro_dash.client import HubClient

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context

PATH = "/mcp"
MISSING = "MCP needs the package mcp. Install it with: pip install 'retro-dash[mcp]'"


def add_mcp(app: FastAPI, mode: str, address: HubAddress | None, version: str) -> None:
    """Serve tools that ask the hub at `address`, or a sentence that says how to switch them on.

    `mode` is that of the settings: off, read or write. Raises Unavailable when the package is missing.
    """
    if mode == "off" or address is None:

        @app.post(PATH, include_in_schema=False)
        def switched_off() -> None:
            raise HTTPException(404, "MCP is switched off. Start the hub with --mcp read, or --mcp write.")

        return
    try:
        from mcp.server.transport_security import TransportSecuritySettings  # Half a second that others need not pay.

        from retro_dash.mcp_tools import make_server
    except ImportError as error:
        raise Unavailable(MISSING) from error

    @contextmanager
    def reach(context: Context) -> Iterator[HubClient]:
        scheme, _, token = (context.headers or {}).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused("An agent needs a token: send it as 'Authorization: Bearer …'.")
        with HubClient.at(replace(address, token=token.strip())) as hub:
            yield hub

    server = make_server(reach, mode == "write", version)
    tools = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        # Host and Origin are the guard's to check: it knows the names of this hub.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    app.router.routes.append(Route(PATH, tools, methods=["POST"], include_in_schema=False))
    others = app.router.lifespan_context

    @asynccontextmanager
    async def with_sessions(app: FastAPI) -> AsyncIterator[None]:
        async with others(app), server.session_manager.run():
            yield

    app.router.lifespan_context = with_sessions

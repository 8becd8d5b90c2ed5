"""`retro-dash mcp`: the dashboard as tools for an agent, over standard input and output."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from data.errors import BadInput, Unavailable
from retro_dash.address import TOKEN_VARIABLE, find_hub, remote_address
from retro_dash.api_mcp import MISSING
from retro_dash.client import HubClient
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", action="store_true", help="let the agent label, too")
    parser.add_argument("--url", help=f"address of a hub elsewhere; its token is in the variable {TOKEN_VARIABLE}")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    try:
        from retro_dash.mcp_tools import make_server
    except ImportError as error:
        raise Unavailable(MISSING) from error
    elsewhere = remote_address(arguments.url, os.environ.get(TOKEN_VARIABLE)) if arguments.url else None
    if elsewhere is not None and not elsewhere.token:
        raise BadInput(f"The hub at {elsewhere.url} wants a token. Put it into the variable {TOKEN_VARIABLE}.")

    @contextmanager
    def reach(context: object) -> Iterator[HubClient]:
        """The hub that runs now: an agent outlives restarts of it."""
        address = elsewhere or find_hub(settings.home)
        if address is None:
            raise Unavailable(
                f"No Retro Dash runs on {settings.home}. Start it with: retro-dash web --home {settings.home}"
            )
        with HubClient.at(address) as hub:
            yield hub

    make_server(reach, arguments.write).run("stdio")
    return 0

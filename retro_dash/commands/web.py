"""`retro-dash web`: start the hub and print its address."""

from __future__ import annotations

import argparse

from data.store import Store
from retro_dash.hub import refuse_second_hub, serve
from retro_dash.service import Service
from retro_dash.serving.engine import start_engine
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (loopback only)")
    parser.add_argument("--port", type=int, help="port, 0 for any free one (default 7860)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    given = {"host": arguments.host, "port": arguments.port, "open_browser": False if arguments.no_browser else None}
    settings = Settings.model_validate(
        {**settings.model_dump(), **{name: value for name, value in given.items() if value is not None}}
    )
    refuse_second_hub(settings.home)
    store = Store.open(settings.home)
    engine = start_engine(settings)
    try:
        serve(settings, Service(settings, store, engine))
    finally:
        if engine is not None:
            engine.stop()
    return 0

"""`retro-dash web`: start the hub and print its address."""

from __future__ import annotations

import argparse
import signal
import sys

from data.store import Store
from retro_dash.hub import free_port, refuse_second_hub, serve
from retro_dash.service import Service
from retro_dash.serving.engine import start_engine
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (loopback, unless there are accounts)")
    parser.add_argument("--certificate", help="PEM file: serve HTTPS with this certificate")
    parser.add_argument("--key", dest="certificate_key", help="PEM file of the certificate's private key")
    parser.add_argument("--port", type=int, help="port, 0 for any free one (default 7860)")
    parser.add_argument(
        "--no-browser", dest="open_browser", action="store_const", const=False, help="do not open a browser"
    )
    parser.add_argument("--mcp", choices=("off", "read", "write"), help="tools for agents at /mcp (default off)")
    parser.add_argument(
        "--unsafe-run-model-code-on-host",
        action="store_const",
        const=True,
        help="run model-written SQL and shell WITHOUT a sandbox; it can read and destroy your files",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # So that what follows `finally` happens then too.
    refuse_second_hub(settings.home)
    free_port(settings.host, settings.port)  # Said before the engine starts, which takes its time.
    service = Service(settings, Store.open(settings.home), None)
    try:
        service.engine = start_engine(settings)
        serve(settings, service)
    finally:
        service.close()
        if service.engine is not None:
            service.engine.stop()
    return 0

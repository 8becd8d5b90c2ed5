"""The hub: one process that owns the store, serves pages and API, and starts the engine.

It writes `hub.json` (readable by its user only) so that the terminal interface, scripts and a second start find it.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import webbrowser
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import uvicorn
from fastapi import FastAPI

from data.errors import Refused, RetroDashError, StorageError
from retro_dash.address import HubAddress, find_hub
from retro_dash.api import add_api
from retro_dash.api_accounts import accounts_router, sign_in_router
from retro_dash.audit import AuditLog
from retro_dash.guard import Guard
from retro_dash.identity import Identity
from retro_dash.limits import Attempts
from retro_dash.service import VERSION, Service
from retro_dash.settings import Settings

CHECKPOINT_SECONDS = 300.0
KEPT_BACKUPS = 3
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def build_app(
    service: Service,
    token: str,
    hosts: tuple[str, ...] = LOCAL_HOSTS,
    must_have_users: bool = False,
    attempts: Attempts | None = None,
) -> Guard:
    """The whole application: pages, API and the gate in front of them.

    `must_have_users` keeps the token of the owner out of addresses and cookies even when no account is left.
    """
    from retro_dash.web import mount  # Gradio takes two seconds to import; scripts that only need the API do not.

    app = FastAPI(
        title="Retro Dash", version=VERSION, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "version": VERSION}

    home = service.settings.home
    identity = Identity(home, token, must_have_users)
    add_api(app, service)
    app.include_router(accounts_router(identity, home), prefix="/api/v1")
    app.include_router(sign_in_router(identity, attempts or Attempts()))
    mounted = mount(app, service)
    return Guard(mounted, identity, AuditLog(home / "audit.jsonl"), hosts)


def refuse_second_hub(home: Path) -> None:
    """Raises Refused with the address when a hub runs on this home already."""
    running = find_hub(home)
    if running is None:
        return
    try:
        answers = httpx.get(f"{running.url}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        answers = False
    state = f"It answers at {running.sign_in_url}" if answers else "It does not answer; stop it first"
    raise Refused(f"Retro Dash already runs on {home} (process {running.pid}). {state}")


def free_port(host: str, port: int) -> int:
    """The port itself when it is free, any free one for 0. Raises Refused when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Refused(f"Port {port} on {host} is taken. Choose another with --port, or --port 0.") from error
        return int(probe.getsockname()[1])


def serve(settings: Settings, service: Service) -> None:
    """Serve until interrupted. Raises Refused when the address is not loopback or the port is taken."""
    if settings.host not in LOCAL_HOSTS:
        raise Refused(
            f"Refusing to listen on {settings.host}: only 127.0.0.1 is allowed without user accounts. "
            "From another machine, use: ssh -L 7860:127.0.0.1:7860 this-machine"
        )
    port = free_port(settings.host, settings.port)
    token = secrets.token_urlsafe(24)
    address = HubAddress(f"http://{settings.host}:{port}", token, os.getpid(), psutil.Process().create_time())
    app = build_app(service, token)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    _write_address(settings.home, address)
    done = threading.Event()
    threading.Thread(target=_maintain, args=(service, done), daemon=True, name="maintenance").start()
    threading.Thread(target=_announce, args=(server, address, settings.open_browser), daemon=True).start()
    try:
        server.run()
    finally:
        done.set()
        (settings.home / "hub.json").unlink(missing_ok=True)
        service.close()


def _announce(server: uvicorn.Server, address: HubAddress, open_browser: bool) -> None:
    while not server.started:
        if server.should_exit:
            return
        threading.Event().wait(0.05)
    print(f"\nRetro Dash is ready: {address.sign_in_url}\n(stop it with Ctrl-C)", flush=True)
    has_screen = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if open_browser and has_screen:
        webbrowser.open(address.sign_in_url)


def _maintain(service: Service, done: threading.Event) -> None:
    """Keep the database's log short and a copy of each day at hand, which is what recovery starts from."""
    backups = service.settings.home / "backups"
    while not done.wait(CHECKPOINT_SECONDS):
        try:
            service.store.checkpoint()
            today = backups / f"{datetime.now(UTC):%Y-%m-%d}.duckdb"
            if not today.exists():
                service.store.snapshot(today)
                for old in sorted(backups.glob("????-??-??.duckdb"))[:-KEPT_BACKUPS]:
                    old.unlink()
        except (OSError, RetroDashError) as error:  # The store goes on read-only and recovers when there is room.
            print(f"maintenance: {error}", file=sys.stderr, flush=True)


def _write_address(home: Path, address: HubAddress) -> None:
    path, temporary = home / "hub.json", home / f".hub.json.{os.getpid()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(address.__dict__, file)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {error.strerror}. Free some space or choose another --home."
        ) from error

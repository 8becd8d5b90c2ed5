"""The hub: one process that owns the store, serves pages and API, and starts the engine.

It writes `hub.json` (readable by its user only) so that the terminal interface, scripts and a second start find it.
"""

from __future__ import annotations

import gc
import json
import os
import secrets
import socket
import ssl
import sys
import threading
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import uvicorn
from fastapi import FastAPI

from data.errors import BadConfig, Refused, RetroDashError
from retro_dash.accounts import Accounts
from retro_dash.address import HubAddress, find_hub, left_token
from retro_dash.api import add_api
from retro_dash.api_accounts import accounts_router, sign_in_router
from retro_dash.api_mcp import add_mcp
from retro_dash.audit import AuditLog
from retro_dash.guard import Guard
from retro_dash.identity import Identity
from retro_dash.limits import Attempts
from retro_dash.repeats import Repeats
from retro_dash.service import VERSION, Service
from retro_dash.sessions import write_private
from retro_dash.settings import Settings

CHECKPOINT_SECONDS = 300.0
KEPT_BACKUPS = 3
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104


def build_app(
    service: Service,
    token: str,
    hosts: tuple[str, ...] = LOCAL_HOSTS,
    must_have_users: bool = False,
    address: HubAddress | None = None,
) -> Guard:
    """The whole application: pages, API and the gate in front of them.

    `must_have_users` keeps the token of the owner out of addresses and cookies even when no account is left.
    `address` is where the hub listens: tools for agents ask it there, and are left out without it.
    """
    from retro_dash.web import mount  # Gradio takes two seconds to import; scripts that only need the API do not.

    identity = Identity(service.settings.home, token, must_have_users)
    api = build_api(service, identity, Attempts(), address)
    app = mount(api, service)
    return Guard(app, identity, AuditLog(service.settings.home / "audit.jsonl"), hosts)


def build_api(service: Service, identity: Identity, attempts: Attempts, address: HubAddress | None = None) -> FastAPI:
    """All but the pages, with no gate: `/health`, `/api/v1`, `/mcp` and signing in."""
    app = FastAPI(
        title="Retro Dash", version=VERSION, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "version": VERSION}

    add_api(app, service)
    app.include_router(accounts_router(identity, service.settings.home), prefix="/api/v1")
    app.include_router(sign_in_router(identity, attempts))
    add_mcp(app, service.settings.mcp, address, VERSION)
    app.add_middleware(Repeats)
    return app


def refuse_second_hub(home: Path) -> None:
    """Raises Refused with the address when a hub runs on this home already."""
    running = find_hub(home)
    if running is None:
        return
    try:
        url = f"{running.url}/health"
        answers = httpx.get(url, timeout=2, trust_env=False, verify=running.trust()).status_code == 200
    except (httpx.HTTPError, OSError):
        answers = False
    state = f"It answers at {running.sign_in_url}" if answers else "It does not answer; stop it first"
    raise Refused(f"Retro Dash already runs on {home} (process {running.pid}). {state}")


def free_port(host: str, port: int) -> int:
    """The port itself when it is free, any free one for 0. Raises Refused when it is taken."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Refused(f"Port {port} on {host} is taken. Choose another with --port, or --port 0.") from error
        return int(probe.getsockname()[1])


def allowed_hosts(settings: Settings, has_users: bool) -> tuple[str, ...]:
    """The host names that the hub answers to. Raises Refused for an address that is not safe to listen on."""
    if settings.host in LOCAL_HOSTS:
        return (*LOCAL_HOSTS, *settings.allowed_hosts)
    if not has_users:
        raise Refused(
            f"Refusing to listen on {settings.host}: only 127.0.0.1 is allowed without user accounts "
            "(retro-dash users add NAME --role admin). "
            "From another machine, use: ssh -L 7860:127.0.0.1:7860 this-machine"
        )
    if settings.unsafe_run_model_code_on_host:
        raise Refused(f"Refusing to listen on {settings.host} while model-written code runs without a sandbox.")
    if settings.host in EVERY_ADDRESS and not settings.allowed_hosts:
        raise Refused(
            f"Listening on {settings.host} needs the names under which people reach it: "
            'set allowed_hosts = ["retro.example.org"] in retro.toml.'
        )
    return (*LOCAL_HOSTS, *settings.allowed_hosts, *({settings.host} - EVERY_ADDRESS))


def serve(settings: Settings, service: Service) -> None:
    """Serve until interrupted. Raises Refused when the address is not allowed or the port is taken."""
    has_users = bool(Accounts(settings.home).users())
    hosts = allowed_hosts(settings, has_users)
    certificate, key = _certificate(settings)
    port = free_port(settings.host, settings.port)
    token = left_token(settings.home) or secrets.token_urlsafe(24)  # Pages that a killed hub left open go on.
    started = psutil.Process().create_time()
    address = HubAddress(_url(settings.host, port, certificate is not None), token, os.getpid(), started, certificate)
    is_shared = settings.host not in LOCAL_HOSTS
    if is_shared and certificate is None:
        print("Passwords travel unencrypted: use --certificate, or a proxy with HTTPS.", file=sys.stderr, flush=True)
    config = uvicorn.Config(
        build_app(service, token, hosts, is_shared, address),
        host=settings.host,
        port=port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    server = uvicorn.Server(config)
    _write_address(settings.home, address)
    done = threading.Event()
    threading.Thread(target=_maintain, args=(service, done), daemon=True, name="maintenance").start()
    page = f"{address.url}/" if has_users else address.sign_in_url
    threading.Thread(target=_announce, args=(server, page, settings.open_browser), daemon=True).start()
    gc.collect()
    gc.freeze()  # What is there by now stays: collecting garbage need not go through it while somebody waits.
    try:
        server.run()
    finally:
        done.set()
        with suppress(OSError):  # A disk that turned read-only keeps it; its process id says that nobody is there.
            (settings.home / "hub.json").unlink(missing_ok=True)
        service.close()


def _certificate(settings: Settings) -> tuple[str | None, str | None]:
    """The files to serve HTTPS with. Raises BadConfig when they do not belong together."""
    if settings.certificate is None:
        return None, None
    certificate, key = settings.certificate.resolve(), (settings.certificate_key or settings.certificate).resolve()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        raise BadConfig(
            f"HTTPS with {certificate} and {key} does not work ({error.strerror or error}). Give PEM files of a "
            "certificate and its private key: --certificate FILE --key FILE."
        ) from error
    return str(certificate), str(key)


def _url(host: str, port: int, has_tls: bool) -> str:
    """Where programs of this machine reach the hub."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"{'https' if has_tls else 'http'}://{f'[{local}]' if ':' in local else local}:{port}"


def _announce(server: uvicorn.Server, page: str, open_browser: bool) -> None:
    while not server.started:
        if server.should_exit:
            return
        threading.Event().wait(0.05)
    print(f"\nRetro Dash is ready: {page}\n(stop it with Ctrl-C)", flush=True)
    if open_browser and has_screen(sys.platform, os.environ):
        webbrowser.open(page)


def has_screen(platform: str, environ: Mapping[str, str]) -> bool:
    """Whether a browser that is opened here is seen by whoever started the hub.

    A display that was forwarded (`ssh -X`) counts; a Mac that was reached over SSH shows it to somebody else.
    """
    if platform == "darwin":
        return "SSH_CONNECTION" not in environ
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


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
    write_private(home / "hub.json", json.dumps(address.__dict__))

"""`retro-dash tui`: the dashboard in this terminal, on the hub that runs here, on one elsewhere, or on a new one."""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from data.errors import Refused, Unavailable
from retro_dash.address import TOKEN_VARIABLE, HubAddress, find_hub, remote_address
from retro_dash.client import HubClient, HubLost
from retro_dash.settings import Settings

START_SECONDS = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="address of a hub elsewhere; the sign-in link with ?token=… will do")
    parser.add_argument("--token", help=f"its token (else the variable {TOKEN_VARIABLE}; asked for otherwise)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Refused(
            "The terminal interface needs a terminal. For scripts there are: retro-dash play, episodes --json."
        )
    for name in ("COLUMNS", "LINES"):  # Where a shell exported them, Python believes them, and no resize is seen.
        os.environ.pop(name, None)
    from retro_dash.tui.app import RetroDash  # Textual is loaded by the command that shows it.
    from retro_dash.tui.choices import choices_file

    if arguments.url:
        elsewhere = remote_address(arguments.url, arguments.token or os.environ.get(TOKEN_VARIABLE))
        if not elsewhere.token:
            elsewhere = replace(elsewhere, token=getpass.getpass("Token of the hub (in its hub.json): "))
        check(elsewhere)
        RetroDash(lambda: elsewhere, choices_file(None)).run()
        return 0
    found = find_hub(settings.home)
    if found is None:
        start_hub(settings)
    RetroDash(lambda: find_hub(settings.home), choices_file(settings.home)).run()
    running = find_hub(settings.home)
    if running is not None:
        print(f"The dashboard goes on at {running.url} (process {running.pid}). Stop it with: kill {running.pid}")
    return 0


def check(address: HubAddress) -> None:
    """Raises Unavailable when the hub does not answer, or not with this token."""
    with HubClient.at(address, timeout=10) as client:
        try:
            client.status()
        except HubLost as error:
            raise Unavailable(f"{error} From another machine: ssh -L 7860:127.0.0.1:7860 its-machine") from error


def start_hub(settings: Settings) -> HubAddress:
    """Start the dashboard in the background and wait until it answers. It outlives us. Raises Unavailable."""
    log = settings.home / "logs" / "hub.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"No dashboard runs on {settings.home}. Starting one in the background ({log}) …", flush=True)
    command = [sys.executable, "-m", "retro_dash.cli", "web", "--no-browser", "--port", str(_port(settings))]
    command += ["--home", str(settings.home), "--engine", settings.engine, "--model", settings.model]
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise Unavailable(f"The dashboard did not start: {_last_line(log)} See {log}")
        address = find_hub(settings.home)
        if address is not None and _answers(address):
            print(f"It runs at {address.url} and goes on when you leave the terminal interface.", flush=True)
            return address
        time.sleep(0.2)
    raise Unavailable(f"The dashboard does not answer after {START_SECONDS:.0f} s (process {child.pid}). See {log}")


def _answers(address: HubAddress) -> bool:
    with HubClient.at(address, timeout=2) as client:
        try:
            client.status()
        except HubLost:
            return False
    return True


def _port(settings: Settings) -> int:
    """The port of the settings, or any free one when another home's dashboard has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            return 0
    return settings.port


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing."

"""`retro-dash doctor`: what this machine can do, and how to get what is missing."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import psutil

from data.errors import RetroDashError, Unavailable
from envs import ENVIRONMENTS, environment_kind, sandbox, sandbox_docker
from envs.alfworld_engine import engine_python
from retro_dash.address import find_hub
from retro_dash.serving.model import most_memory
from retro_dash.settings import Settings


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    works: bool
    is_needed: bool
    """False for what only some features use."""
    detail: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    findings = list(examine(settings))
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            sign = "✓" if finding.works else ("✕" if finding.is_needed else "–")
            print(f"{sign} {finding.name:16} {finding.detail}")
    return 0 if all(finding.works for finding in findings if finding.is_needed) else 4


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything; each finding says how to get what is missing."""
    yield _python()
    yield _home(settings)
    yield _hub(settings)
    yield _torch()
    yield _model(settings)
    yield _vllm()
    for name, found in (("sandbox", sandbox.probe()), ("docker", sandbox_docker.probe())):
        yield Finding(name, found.works, False, found.detail)
    for name in ENVIRONMENTS:
        try:
            found = environment_kind(name).check()
            yield Finding(name, found.works, False, found.detail)
        except (RetroDashError, ImportError) as error:
            yield Finding(name, False, False, str(error))
    yield _engine_of_alfworld()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    missing = "Not found: needed only by the browser tests. Debian: apt-get install chromium"
    yield Finding("chromium", browser is not None, False, browser or missing)


def _python() -> Finding:
    works = sys.version_info >= (3, 11)
    return Finding("python", works, True, f"{sys.version.split()[0]}{'' if works else ': 3.11 or newer is needed'}")


def _home(settings: Settings) -> Finding:
    home = settings.home
    folder = next(parent for parent in (home, *home.parents) if parent.exists())
    free = shutil.disk_usage(folder).free / 1e9
    writable = os.access(folder, os.W_OK)
    note = f"{home}, {free:.1f} GB free"
    if not writable:
        return Finding("home", False, True, f"{note}, but {folder} is not writable: choose another --home")
    return Finding("home", free > 1, True, note if free > 1 else f"{note}: free some space, 1 GB at least")


def _hub(settings: Settings) -> Finding:
    address = find_hub(settings.home)
    if address is None:
        return Finding("hub", False, False, "Not running. Start it with: retro-dash web")
    return Finding("hub", True, False, f"runs at {address.url} (process {address.pid})")


def _torch() -> Finding:
    """Asked in a child process, because torch takes a second to import and never belongs in ours."""
    script = (
        "import torch; n = torch.cuda.device_count(); "
        "print(torch.__version__, '·', ', '.join(map(torch.cuda.get_device_name, range(n))) or 'no GPU, CPU only')"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    if answer.returncode != 0:
        return Finding("torch", False, True, "Cannot be imported. Install it with: pip install torch==2.13.0")
    return Finding("torch", True, True, answer.stdout.strip())


def _model(settings: Settings) -> Finding:
    folder = settings.home / "models" / settings.model
    if (folder / "config.json").is_file():
        most = most_memory(folder, psutil.virtual_memory().total) / 2**30
        return Finding("embedded model", True, False, f"{folder}; its engine holds at most about {most:.1f} GiB")
    return Finding("embedded model", False, False, "Not prepared yet: `make run` or `retro-dash web` does it once")


def _vllm() -> Finding:
    python = os.environ.get("RETRO_VLLM_PYTHON", ".venv-vllm/bin/python")
    works = os.access(python, os.X_OK)
    return Finding("vllm", works, False, python if works else "Not installed; `make vllm` makes its own environment")


def _engine_of_alfworld() -> Finding:
    try:
        return Finding("textworld engine", True, False, f"alfworld runs under {engine_python()}")
    except Unavailable as error:
        return Finding("textworld engine", False, False, str(error))

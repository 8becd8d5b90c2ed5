"""How long until the first page: our hub, and a bare Gradio app with one text box, started in turns on one machine.

    python -m benchmarks.hub --json [--rounds 5]

Prints JSON: seconds from starting the process to the first whole page, each round, medians and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

BARE = (
    "import gradio as gr\nwith gr.Blocks() as demo:\n    gr.Textbox()\ndemo.launch(server_port={port}, quiet=True)\n"
)
LIMIT_SECONDS = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def seconds_to_page(command: Sequence[str], port: int, environ: dict[str, str]) -> float:
    """Start the process, ask until a page comes, end it. For our hub the token is read from what it prints."""
    started = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **environ}
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}/"
            if "retro_dash.cli" in command:
                assert process.stdout is not None
                url = next(found.group(0) for line in process.stdout if (found := re.search(r"http://\S+", line)))
            while time.monotonic() - started < LIMIT_SECONDS:
                try:
                    with httpx.Client(follow_redirects=True, trust_env=False) as client:
                        answer = client.get(url)
                    if answer.status_code == 200 and "<html" in answer.text:
                        return time.monotonic() - started
                except httpx.HTTPError:
                    time.sleep(0.02)
            raise SystemExit(f"No page within {LIMIT_SECONDS:g} s.")
        finally:
            process.terminate()
            process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON (the only form)")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {"hub": [], "bare_gradio": []}
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for _ in range(arguments.rounds):
            port = free_port()
            words = ["web", "--home", str(home), "--port", str(port), "--no-browser", "--engine", "none"]
            hub = [sys.executable, "-m", "retro_dash.cli", *words]
            times["hub"].append(seconds_to_page(hub, port, {}))
            port = free_port()
            bare = [sys.executable, "-c", BARE.format(port=port)]
            environ = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SSR_MODE": "False"}
            times["bare_gradio"].append(seconds_to_page(bare, port, environ))
    medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
    report = {
        "cores": os.cpu_count(),
        "load": [round(load_before, 1), round(os.getloadavg()[0], 1)],
        "seconds": {name: [round(value, 2) for value in values] for name, values in times.items()},
        "median": medians,
        "hub_over_bare_gradio": round(medians["hub"] / medians["bare_gradio"], 2),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

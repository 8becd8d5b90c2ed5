"""What `sys.modules` holds in a process that was asked to serve pages: the run-time twin of the import contracts."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "vllm", "accelerate")


def loaded_after(script: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `script`."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    answer = subprocess.run([sys.executable, "-c", f"{script}; {report}"], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_the_hub_with_all_its_pages_loads_no_model_library():
    script = "import retro_dash.hub, retro_dash.service, retro_dash.api, retro_dash.web, retro_dash.commands.web"
    assert loaded_after(script).isdisjoint(HEAVY)


@pytest.mark.parametrize("env", ["alfworld", "hotpotqa", "intercode_sql", "intercode_bash"])
def test_an_environment_loads_no_model_library(env: str):
    assert loaded_after(f"from envs import environment_kind; environment_kind('{env}')").isdisjoint(HEAVY)


def test_the_command_line_starts_without_gradio():
    assert "gradio" not in loaded_after("import retro_dash.cli, retro_dash.commands.play, retro_dash.commands.doctor")


def test_only_the_store_loads_duckdb():
    nouns = "import data.types, data.events, data.episodes, data.filters, envs, retro_dash.agent.rollout"
    assert "duckdb" not in loaded_after(nouns)

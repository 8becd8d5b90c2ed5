"""The embedded engine from the outside: clients that vanish, a hub that dies, full weights, a server by its URL."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from data.errors import EngineError, UnknownName
from retro_dash.agent.engine_policy import EnginePolicy
from retro_dash.serving.client import EngineClient
from retro_dash.serving.engine import start_engine
from retro_dash.serving.process import EngineProcess
from retro_dash.settings import Settings

NAME = "tiny-llama"
CROWD, PROMPT, OUTPUT = 40, 60, 430


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "whole"])
def test_a_client_that_goes_away_cancels_its_requests(
    engine_process: EngineProcess, client: EngineClient, streams: bool
) -> None:
    draw = random.Random(streams)
    prompts = [[draw.randrange(3, 300) for _ in range(PROMPT)] for _ in range(CROWD)]
    body = {"prompt": prompts, "max_tokens": OUTPUT, "ignore_eos": True, "stream": streams}
    assert engine_process.record is not None
    headers = {"Authorization": f"Bearer {engine_process.record.key}"}
    url = client.url + "/v1/completions"
    before = client.stats()["kv_cache_tokens"]
    connection = httpx.Client(headers=headers, timeout=0.5)
    with contextlib.suppress(httpx.ReadTimeout), connection.stream("POST", url, json=body) as answer:
        assert streams, "a whole answer should take far longer than half a second"
        assert next(answer.iter_lines()).startswith("data:")
    connection.close()
    wait_for(lambda: client.stats()["running"] + client.stats()["waiting"] == 0)
    computed = client.stats()["kv_cache_tokens"] - before
    assert computed < CROWD * (PROMPT + OUTPUT) / 2, "most of the answers should never have been computed"


@pytest.mark.slow
def test_an_embedded_engine_ends_with_its_hub(tiny_folder: Path) -> None:
    hub = """
import os, subprocess, sys, time
serve = [sys.executable, "-m", "retro_dash.serving.embedded", "--model-dir", sys.argv[1], "--port", "0"]
print(subprocess.Popen([*serve, "--threads", "1", "--die-with", str(os.getpid())]).pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", hub, str(tiny_folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        engine = psutil.Process(int(parent.stdout.readline()))
        wait_for(lambda: any(kind.status == psutil.CONN_LISTEN for kind in engine.net_connections()), 120)
        assert engine.is_running()
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


def test_a_folder_of_full_weights_is_served_by_name(client: EngineClient, tiny_folder: Path, tmp_path: Path) -> None:
    config = LlamaConfig.from_pretrained(tiny_folder)
    torch.manual_seed(4)
    trained = LlamaForCausalLM(config)
    trained.save_pretrained(tmp_path / "full-v1")
    ids = list(range(20, 50))
    client.load_adapter("full-v1", str(tmp_path / "full-v1"))
    done = client.complete(ids, model="full-v1", max_tokens=12, ignore_eos=True)
    expected = AutoModelForCausalLM.from_pretrained(tmp_path / "full-v1").generate(
        torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert list(done.token_ids or ()) == expected[0, len(ids) :].tolist()
    assert done.token_ids != client.complete(ids, model=NAME, max_tokens=12, ignore_eos=True).token_ids
    client.unload_adapter("full-v1")
    config.vocab_size = 77
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    with pytest.raises(EngineError, match="77 tokens in its vocabulary"):
        client.load_adapter("other", str(tmp_path / "other"))


def test_an_engine_by_its_url_acts_with_exact_tokens_and_is_left_running(
    engine_process: EngineProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine_process.record is not None
    monkeypatch.setenv("SOME_KEY", engine_process.record.key)
    url = f"{engine_process.record.url}/v1"
    engine = start_engine(Settings(home=tmp_path, engine=url, api_key_variable="SOME_KEY"))
    assert engine is not None
    assert engine.default_model() == NAME
    assert isinstance(engine.policy(NAME), EnginePolicy)
    with pytest.raises(UnknownName, match="nobody"):
        engine.policy("nobody")
    status = engine.status()
    assert (status["state"], status["url"]) == ("ready", engine_process.record.url)
    engine.stop()
    assert engine_process.client().is_healthy()


def test_an_engine_by_its_url_that_refuses_the_key_is_not_ready(
    engine_process: EngineProcess, tmp_path: Path
) -> None:
    assert engine_process.record is not None
    assert "NO_SUCH_KEY" not in os.environ
    engine = start_engine(Settings(home=tmp_path, engine=engine_process.record.url, api_key_variable="NO_SUCH_KEY"))
    assert engine is not None
    assert engine.status()["state"] == "failed"
    with pytest.raises(EngineError, match="Check the API key"):
        engine.policy(NAME)
    engine.stop()


def test_a_hub_finds_the_key_of_its_own_engine_in_its_home(engine_process: EngineProcess) -> None:
    assert engine_process.record is not None
    engine = start_engine(Settings(home=engine_process.home, engine=engine_process.record.url))
    assert engine is not None
    assert engine.model_names() == [NAME]

"""The engine as the hub sees it: a process of our own, or somebody's server by URL. Nothing here imports torch."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from data.errors import BadConfig, EngineError, Unavailable, UnknownName
from retro_dash.agent.chat_policy import ChatPolicy
from retro_dash.agent.engine_policy import EnginePolicy
from retro_dash.agent.policy import Policy
from retro_dash.bundled import adapter_cards
from retro_dash.serving.client import Capabilities, EngineClient, ModelCard
from retro_dash.serving.model import EMBEDDED_MODEL, is_complete
from retro_dash.serving.process import EngineProcess, Launch, embedded_environment, read_record
from retro_dash.serving.server import ChatEngine, TokenEngine
from retro_dash.serving.vllm import find_vllm, vllm_launch
from retro_dash.settings import Settings

_LOOK_SECONDS = 10.0
"""The longest that somebody waits who only wants to know what is served."""


class Engine:
    """Models and adapters by name. `process` is None for a server that is not ours."""

    def __init__(
        self,
        model: str | None,
        client: EngineClient | None,
        process: EngineProcess | None = None,
        adapters: Mapping[str, str] | None = None,
    ) -> None:
        """`adapters` (name to folder) are loaded whenever the process is ready."""
        if (client is None) == (process is None):
            raise ValueError("An engine is either a process of ours or a client of somebody's server.")
        self.process = process
        self._model = model
        self._client = client
        self._adapters = dict(adapters or {})
        self._capabilities: Capabilities | None = None
        self._lock = threading.Lock()
        if process is not None:
            process.on_ready = self._load_again

    def client(self) -> EngineClient:
        """Raises `EngineError` while the engine is not ready."""
        if self._client is not None:
            return self._client
        assert self.process is not None
        return self.process.client()

    def wait_until_ready(
        self, timeout: float | None = None, progress: Callable[[str], None] | None = None
    ) -> EngineClient:
        """Raises `EngineError` when the engine does not come up."""
        if self.process is not None:
            return self.process.wait_until_ready(timeout, progress)
        self.client().models()
        return self.client()

    def stop(self) -> None:
        """Ends a process of ours; a server by URL is only left alone."""
        if self.process is not None:
            self.process.stop()
        elif self._client is not None:
            self._client.close()

    def pause(self, why: str) -> bool:
        """Ask a process of ours to let go of its memory, and say whether it has. Somebody's server is left alone."""
        if self.process is None:
            return True
        if self.process.holds_memory:
            self.process.pause(why)
        return not self.process.holds_memory

    def pid(self) -> int | None:
        """The process of ours that serves; None while there is none."""
        record = self.process.record if self.process is not None and self.process.holds_memory else None
        return record.pid if record else None

    def resume(self) -> None:
        """Serve again after a pause; adapters that were loaded are loaded again."""
        if self.process is not None:
            self.process.resume()

    def models(self) -> list[ModelCard]:
        """What is served now; empty while the engine is not ready or does not answer."""
        try:
            return self.client().models(_LOOK_SECONDS)
        except EngineError:
            return []

    def model_names(self) -> list[str]:
        return [model.name for model in self.models()]

    def default_model(self) -> str | None:
        """The base model's name; of a server by URL the first that it lists."""
        if self._model is None:
            self._model = next((model.name for model in self.models() if model.parent is None), None)
        return self._model

    def policy(self, name: str) -> Policy:
        """A planner or reflector that asks for `name`. Raises `UnknownName` or `EngineError`."""
        client = self.wait_until_ready()
        cards = {card.name: card for card in client.models()}
        if name not in cards:
            raise UnknownName("model", name, cards)
        if self.capabilities(name).exact_tokens:
            return EnginePolicy(name, TokenEngine(self.client, cards[name].context_length))
        return ChatPolicy(name, ChatEngine(self.client))

    def capabilities(self, model: str) -> Capabilities:
        """What the server can do, tried once."""
        with self._lock:
            if self._capabilities is None:
                self._capabilities = self.client().capabilities(model)
            return self._capabilities

    def load_adapter(self, name: str, path: Path) -> None:
        """Serves a PEFT folder or full weights by name, now and after every restart of the engine."""
        self.client().load_adapter(name, str(path.resolve()))
        self._adapters[name] = str(path.resolve())
        self._look()

    def unload_adapter(self, name: str) -> None:
        self._adapters.pop(name, None)
        self.client().unload_adapter(name)
        self._look()

    def _look(self) -> None:
        if self.process is not None:
            self.process.look()

    def status(self) -> dict[str, JsonValue]:
        """For the top bar and the serving page: state, model, url, detail, and the load while it is ready."""
        load: dict[str, JsonValue] = {}
        if self.process is not None:
            # Read, not asked: a server that is frozen must not hold up everybody who looks at it.
            state, detail, record = self.process.state, self.process.detail, self.process.record
            load = dict(self.process.load) if state == "ready" else {}
            url = record.url if record else None
        else:
            assert self._client is not None
            url = self._client.url
            if self.model_names():
                state, detail = "ready", "A server by its URL"
                with contextlib.suppress(EngineError):
                    load = self._client.stats()
            else:
                state, detail = "failed", "The server does not answer"
        return {"state": state, "model": self.default_model(), "detail": detail, "url": url, "load": load}

    def _load_again(self, client: EngineClient) -> None:
        """A new process knows no adapters; one that cannot be loaded any more is left out."""
        for name, path in list(self._adapters.items()):
            try:
                client.load_adapter(name, path)
            except EngineError:
                del self._adapters[name]


def start_engine(settings: Settings) -> Engine | None:
    """Starts what `settings.engine` asks for and returns at once; None for `none`.

    Raises `BadConfig` for an engine that does not exist and `Unavailable` when vLLM is not installed.
    """
    if settings.engine == "none":
        return None
    if settings.engine.startswith(("http://", "https://")):
        return connect_engine(settings, settings.engine)
    if settings.engine == "embedded":
        launch, prepare = _embedded(settings)
    elif settings.engine == "vllm":
        folder, prepare = _model_folder(settings)
        launch = vllm_launch(find_vllm(Path.cwd()), folder, _served_name(settings.model))
    else:
        raise BadConfig(f"There is no engine called {settings.engine!r}. Use embedded, vllm, none or a URL.")
    process = EngineProcess(settings.home, launch, prepare)
    name = _served_name(settings.model)
    engine = Engine(name, None, process, {card.name: str(card.path) for card in adapter_cards(name)})
    process.start()
    return engine


def connect_engine(settings: Settings, url: str) -> Engine:
    """A running server: the hub's own with its recorded key, or any other with the key from the environment."""
    record = read_record(settings.home)
    if record is not None and record.url == url.rstrip("/").removesuffix("/v1"):
        return Engine(_served_name(settings.model), EngineClient(url, record.key))
    return Engine(None, EngineClient(url, os.environ.get(settings.api_key_variable)))


def _served_name(model: str) -> str:
    return Path(model).name


def _embedded(settings: Settings) -> tuple[Launch, Callable[[Callable[[str], None]], None] | None]:
    folder, prepare = _model_folder(settings)

    def command(port: int) -> Sequence[str]:
        serve = [sys.executable, "-m", "retro_dash.serving.embedded", "--model-dir", folder, "--port", str(port)]
        options = ["--served-model-name", _served_name(settings.model), "--die-with", str(os.getpid())]
        threads = ["--threads", str(settings.engine_threads)] if settings.engine_threads else []
        return [*serve, *options, *threads]

    return Launch(command, embedded_environment), prepare


def _model_folder(settings: Settings) -> tuple[str, Callable[[Callable[[str], None]], None] | None]:
    """The model to serve, and what has to happen before it is there: a local folder, one of the home's, a hub id."""
    own = settings.home / "models" / settings.model
    if Path(settings.model).is_dir():
        return settings.model, None
    if settings.model == EMBEDDED_MODEL:
        return str(own), None if is_complete(own) else lambda progress: _prepare(settings.home, progress)
    return (str(own) if own.is_dir() else settings.model), None


def _prepare(home: Path, progress: Callable[[str], None]) -> None:
    """Makes the embedded model in a process of its own, since that needs torch. Raises `Unavailable`."""
    command = [sys.executable, "-m", "retro_dash.serving.model", "--home", str(home)]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            last = line.strip() or last
            progress(last)
    if child.returncode:
        raise Unavailable(last or "The embedded model could not be prepared.")

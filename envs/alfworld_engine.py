"""The official ALFWorld engine (TextWorld 1.7.0, alfworld 0.4.2) behind the simulator's interface.

An optional extra, because part of it is GPL-3 and heavy: `pip install 'retro-dash[alfworld]'`, or
RETRO_ALFWORLD_PYTHON pointing at the Python of another environment that has alfworld. Each game runs in a process of
its own (`alfworld_worker.py` as a script), since a malformed problem can end the process that loads it and loading is
not thread-safe. Whatever happens there reaches the caller as EnvironmentCrashed with a sentence.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from data.errors import EnvironmentCrashed, Unavailable
from envs.household import Dialect

LOAD_SECONDS = 120.0
STEP_SECONDS = 60.0
HOW_TO_ADD = (
    "pip install 'retro-dash[alfworld]', or point RETRO_ALFWORLD_PYTHON at a Python that has alfworld 0.4.2 "
    "(without it, leave the option engine at simulator: it gives the same text)."
)
_LOADING = threading.Lock()
"""One game is loaded at a time: loading costs a second of a core and hundreds of megabytes at its peak."""


def engine_python() -> str:
    """The Python that can import alfworld; raises Unavailable with how to add it."""
    chosen = os.environ.get("RETRO_ALFWORLD_PYTHON")
    if chosen:
        if not Path(chosen).is_file():
            raise Unavailable(f"RETRO_ALFWORLD_PYTHON is {chosen}, which does not exist. {HOW_TO_ADD}")
        return chosen
    if find_spec("textworld") is None or find_spec("alfworld") is None:
        raise Unavailable(f"The TextWorld engine is not installed: {HOW_TO_ADD}")
    return sys.executable


class TextWorldEngine:
    """One game in a child process; same text, commands and `won` as `household.Household`."""

    def __init__(self, problem: str, task: str, dialect: Dialect = Dialect.MOVE) -> None:
        """Raises Unavailable without the engine, EnvironmentCrashed for a problem that it cannot load."""
        self._home = tempfile.TemporaryDirectory(prefix="retro-alfworld-")
        self._child: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._commands: list[str] = []
        self.won = False
        self._child = subprocess.Popen(
            [engine_python(), "-I", "-W", "ignore", str(Path(__file__).with_name("alfworld_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._home.name,
            # alfworld makes a cache folder in the home directory unless told where.
            env={"PATH": os.environ.get("PATH", ""), "ALFWORLD_DATA": self._home.name, "HOME": self._home.name},
        )
        try:
            with _LOADING:
                game = {"problem": problem, "task": task, "dialect": dialect.value}
                self._opening = self._ask(game, LOAD_SECONDS)
        except BaseException:
            self.close()
            raise

    def start(self) -> str:
        return self._opening

    def step(self, command: str) -> str:
        return self._ask({"command": command}, STEP_SECONDS)

    def commands(self) -> list[str]:
        """The admissible commands, sorted."""
        return list(self._commands)

    def close(self) -> None:
        """End the child and remove its folder; safe to call twice."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # unsent bytes to a child that is gone
                        pipe.close()
        self._home.cleanup()

    def _ask(self, question: dict[str, Any], seconds: float) -> str:
        child = self._child
        if child is None or child.stdin is None:
            raise EnvironmentCrashed("The TextWorld engine of this trial is closed; open a new environment.")
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            child.stdin.flush()
            answer = json.loads(self._read_line(child, seconds))
        except (OSError, ValueError, TimeoutError, EOFError) as error:
            self.close()
            reason = str(error) or "its process ended"
            raise EnvironmentCrashed(
                f"The TextWorld engine broke off ({reason}); the game may be malformed or unsolvable. "
                "Play it with engine=simulator, or leave the game out."
            ) from None
        if "error" in answer:
            self.close()
            raise EnvironmentCrashed(f"The TextWorld engine cannot play this game: {answer['error']}")
        self.won, self._commands = bool(answer["won"]), list(answer["commands"])
        return str(answer["text"])

    def _read_line(self, child: subprocess.Popen[bytes], seconds: float) -> bytes:
        assert child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(timeout=seconds):
                    raise TimeoutError(f"no answer within {seconds:.0f} s")
                more = os.read(child.stdout.fileno(), 1 << 16)
                if not more:
                    raise EOFError(f"its process ended with code {child.wait()}")
                self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line

"""A child of the environment pool whose environment misbehaves as its task says. Run by test_isolated.py."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

from pydantic import JsonValue

from data.types import Task
from envs.base import EnvironmentKind, Options, StepOutcome
from envs.hotpotqa import KIND
from envs.isolated_server import serve


class HostileEnvironment:
    """Does what an action says to its own process."""

    def start(self) -> str:
        return "ready"

    def step(self, action: str) -> StepOutcome:
        verb, _, rest = action.partition(" ")
        if verb == "die":
            os.kill(os.getpid(), int(rest))
        elif verb == "exit":
            raise SystemExit(3)
        elif verb == "raise":
            raise KeyError(rest)
        elif verb == "hang":
            time.sleep(600)
        elif verb == "print":
            sys.stdout.write("not JSON\n")
            os.write(1, b"not JSON either\n")
        elif verb == "babble":
            os.write(3, b"not JSON\n")
        elif verb == "shout":
            return StepOutcome("x" * int(rest))
        elif verb == "eat":
            return StepOutcome(str(len(bytearray(int(rest)))))
        elif verb == "spawn":
            # In a session of its own, so that only a hunt through the tree finds it.
            return StepOutcome(str(subprocess.Popen(["sleep", "600"], start_new_session=True).pid))
        elif verb == "litter":
            return StepOutcome(tempfile.mkdtemp())
        elif verb == "pid":
            return StepOutcome(str(os.getpid()))
        return StepOutcome(f"did {verb}")

    def view(self) -> dict[str, JsonValue]:
        return {"seen": True}

    def close(self) -> None:
        pass


def open_hostile(task: Task, options: Options) -> HostileEnvironment:
    return HostileEnvironment()


def hostile_kind(name: str) -> EnvironmentKind:
    return replace(KIND, name=name, open=open_hostile)


if __name__ == "__main__":
    serve(hostile_kind)

"""InterCode Bash against its recordings: does gold score 1, do recorded rewards come out, what does a command cost?

    python -m benchmarks.intercode_bash --json [--data FOLDER] [--commands 1000]

Recorded rewards are compared twice: with each command passed as it is written, and as docker-py passed it, inside
`bash -c "…"` split by a shell's rules, which ends at the command's own double quotes. What agrees only the second way
is InterCode's quoting, not our reward.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data.types import StopReason, Task, Trial, Turn
from envs import sandbox
from envs.bash_reward import SOLVED
from envs.experts.intercode_bash import BashExpert
from envs.intercode_bash import KIND

DATA = Path(os.environ.get("RETRO_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")) / "intercode" / "bash"
TOLERANCE = 0.03 + 1e-9


def gold_against_gold(tasks: Sequence[Task], options: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Run each gold command as the agent would, then submit."""
    failed = {}
    for task in tasks:
        environment = KIND.open(task, options)
        try:
            environment.start()
            environment.step(f"execute[{task.metadata['gold']}]")
            reward = environment.step("submit").reward
        finally:
            environment.close()
        if reward < SOLVED:
            failed[task.id] = reward
    return {"tasks": len(tasks), "solved": len(tasks) - len(failed), "failed": failed}


def expert_play(tasks: Sequence[Task], options: Mapping[str, JsonValue], expert: BashExpert) -> dict[str, Any]:
    """Let the expert play a first trial, then a second one with and without its reflection where the first failed."""
    solved, with_reflection, without = 0, [], []
    for task in tasks:
        first = _trial(task, options, expert, (), 1)
        solved += first.success
        if not first.success:
            reflection = expert.reflect(task, (), first)
            with_reflection.append(_trial(task, options, expert, (reflection,), 2))
            without.append(_trial(task, options, expert, (), 2))
    return {
        "tasks": len(tasks),
        "solved": solved,
        "failed": len(without),
        "second_trial": {
            name: {
                "solved": sum(trial.success for trial in trials),
                "mean_reward": round(statistics.mean(trial.reward for trial in trials), 3) if trials else None,
            }
            for name, trials in {"with_reflection": with_reflection, "without": without}.items()
        },
    }


def _trial(
    task: Task, options: Mapping[str, JsonValue], expert: BashExpert, reflections: Sequence[str], index: int
) -> Trial:
    environment = KIND.open(task, options)
    trial = Trial(index=index, prompt="", opening="", started_at=datetime.now(UTC))
    try:
        environment.start()
        for number in range(1, KIND.turn_limit + 1):
            move = expert.move(task, reflections, trial)
            outcome = environment.step(move.action)
            turn = Turn(
                index=number,
                thought=move.thought,
                action=move.action,
                observation=outcome.observation,
                reward=outcome.reward,
            )
            success = outcome.stop is StopReason.SOLVED
            update = {"turns": (*trial.turns, turn), "reward": outcome.reward, "success": success}
            trial = trial.model_copy(update=update)
            if outcome.stop is not None:
                break
    finally:
        environment.close()
    return trial


def replay(
    tasks: Mapping[str, Task], recorded: Sequence[Any], options: Mapping[str, JsonValue], *, is_docker: bool
) -> dict[str, Any]:
    """Repeat recorded turns and compare the reward after each with the recorded one."""
    agree = compared = observed = 0
    differing: Counter[str] = Counter()
    for row in recorded:
        task, turns = tasks[row["task_id"]], row["turn_history"]
        gold = task.metadata["gold"]
        metadata = {**task.metadata, "gold": as_docker(str(gold)) if is_docker else gold}
        environment = KIND.open(task.model_copy(update={"turn_limit": 1000, "metadata": metadata}), options)
        try:
            environment.start()
            for action, observation, reward in zip(
                turns["actions"], turns["observations"], turns["rewards"], strict=True
            ):
                outcome = environment.step(f"execute[{as_docker(action) if is_docker else action}]")
                compared += 1
                observed += outcome.observation == observation
                if abs(outcome.reward - reward) <= TOLERANCE:
                    agree += 1
                else:
                    differing[task.id] += 1
        finally:
            environment.close()
    return {
        "turns": compared,
        "rewards_agree": agree,
        "share": round(agree / compared, 4),
        "observations_agree": observed,
        "differing_turns": dict(differing.most_common()),
    }


def as_docker(command: str) -> str:
    """A command that does what docker-py's `exec_run('/bin/bash -c "COMMAND"')` did with `command`."""
    try:
        words = shlex.split(f'/bin/bash -c "{command.strip()}"')
    except ValueError:
        return "echo Malformed command; exit 1"
    return shlex.join(words)


def overhead(count: int) -> dict[str, Any]:
    """What `bash -c true` costs in the sandbox and on the bare host, in turns, and what is left behind.

    Milliseconds of wall clock (which other work on the machine lengthens: see `load`) and of CPU (which it does not).
    """
    inside: list[float] = []
    bare: list[float] = []
    with sandbox.take_slot() as slot:
        sandbox.run(["/usr/bin/bash", "-c", "true"], slot=slot)
        before = _leftovers()
        cpu = _cpu_seconds()
        for _ in range(count):
            inside.append(_milliseconds(lambda: sandbox.run(["/usr/bin/bash", "-c", "true"], slot=slot)))
        cpu = _cpu_seconds() - cpu
        after = _leftovers()
        for _ in range(count):
            bare.append(_milliseconds(lambda: subprocess.run(["/usr/bin/bash", "-c", "true"], check=True)))
    return {
        "commands": count,
        "load": round(os.getloadavg()[0], 1),
        "processors": os.cpu_count(),
        "sandbox_ms": _quantiles(inside),
        "bare_ms": _quantiles(bare),
        "overhead_p50_ms": round(_quantiles(inside)["p50"] - _quantiles(bare)["p50"], 2),
        "overhead_p95_ms": round(_quantiles(inside)["p95"] - _quantiles(bare)["p95"], 2),
        "sandbox_cpu_ms": round(cpu * 1000 / count, 2),
        "left_behind": {name: after[name] - before[name] for name in before},
    }


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _milliseconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {"p50": round(statistics.median(values), 2), "p95": round(sorted(values)[int(len(values) * 0.95)], 2)}


def _leftovers() -> dict[str, int]:
    """Children of ours (zombies too), open files, and folders that the sandbox makes."""
    me = Path("/proc/self")
    children = [pid for task in (me / "task").iterdir() for pid in (task / "children").read_text().split()]
    groups = sum(1 for _ in Path("/sys/fs/cgroup").rglob(f"retro-dash-{os.getpid()}-*"))
    return {"children": len(children), "descriptors": len(list((me / "fd").iterdir())), "groups": groups}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with nl2bash_tasks.json and the file trees")
    parser.add_argument("--commands", type=int, default=1000, help="how many commands to time")
    arguments = parser.parse_args()
    found = sandbox.probe()
    if not found.works:
        print(found.detail, file=sys.stderr)
        return 4
    result: dict[str, Any] = {"sandbox": found.detail, "overhead": overhead(arguments.commands)}
    bundled = [task for split in KIND.splits for task in KIND.bundled(split)]
    result["bundled_gold"] = gold_against_gold(bundled, {})
    result["bundled_expert"] = expert_play(bundled, {}, BashExpert())
    result["bundled_clumsy_expert"] = expert_play(bundled, {}, BashExpert(mistake_rate=1.0))
    if (arguments.data / "nl2bash_tasks.json").exists():
        options: dict[str, JsonValue] = {"trees": str(arguments.data), "observation_limit": 1_000_000}
        tasks = {task.id: task for task in KIND.read(arguments.data / "nl2bash_tasks.json", options)}
        with gzip.open(arguments.data / "results_gpt-4_multiturn.jsonl.gz", "rt") as lines:
            recorded = [json.loads(line) for line in lines]
        result["shared_gold"] = gold_against_gold(list(tasks.values()), options)
        result["shared_expert"] = expert_play(list(tasks.values()), options, BashExpert())
        result["recorded_plain"] = replay(tasks, recorded, options, is_docker=False)
        result["recorded_docker"] = replay(tasks, recorded, options, is_docker=True)
    print(json.dumps(result, indent=None if arguments.json else 2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The gold follower solves, fails as agents fail, and mends what its reflection names."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from data.types import StopReason, Task, Trial, Turn
from envs import sandbox
from envs.base import Environment
from envs.experts.intercode_bash import BashExpert, looks, stages
from envs.intercode_bash import KIND

needs_sandbox = pytest.mark.skipif(not sandbox.probe().works, reason=sandbox.probe().detail)


def task(gold: str, name: str = "t") -> Task:
    return Task(id=name, env=KIND.name, split="x", instruction="Do it.", metadata={"gold": gold, "tree": "website"})


def played(*actions: str, index: int = 1) -> Trial:
    turns = tuple(
        Turn(index=number, thought="", action=action, observation="", reward=0.0)
        for number, action in enumerate(actions, start=1)
    )
    return Trial(index=index, prompt="", opening="", turns=turns, started_at=datetime.now(UTC))


def play(
    expert: BashExpert, problem: Task, reflections: tuple[str, ...], index: int
) -> tuple[Trial, StopReason | None]:
    environment: Environment = KIND.open(problem, {})
    trial, stop = played(index=index), None
    try:
        environment.start()
        while stop is None and len(trial.turns) < KIND.turn_limit:
            move = expert.move(problem, reflections, trial)
            assert move.thought
            outcome = environment.step(move.action)
            turn = Turn(
                index=len(trial.turns) + 1,
                thought=move.thought,
                action=move.action,
                observation=outcome.observation,
                reward=outcome.reward,
            )
            trial = trial.model_copy(update={"turns": (*trial.turns, turn), "reward": outcome.reward})
            stop = outcome.stop
    finally:
        environment.close()
    return trial, stop


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("ls", ["ls"]),
        ("sort a | uniq -c | head", ["sort a", "uniq -c", "head"]),
        ("grep 'a|b' x || true", ["grep 'a|b' x || true"]),
        ('echo "a | b" | wc', ['echo "a | b"', "wc"]),
        ("cat $(ls | head -1) | wc -l", ["cat $(ls | head -1)", "wc -l"]),
        (r"echo a\|b | wc", [r"echo a\|b", "wc"]),
    ],
)
def test_a_pipe_is_split_at_its_own_bars_only(command: str, parts: list[str]) -> None:
    assert stages(command) == parts


def test_it_looks_at_the_folder_and_the_file_that_the_command_names() -> None:
    assert looks("find /site -name '*.html' | sort") == ("ls -la /site", "find /site -maxdepth 2")
    assert looks("sed -i 's/a/b/' /site/config/site.ini") == (
        "ls -la /site/config",
        "head -n 5 /site/config/site.ini",
    )
    assert looks("date") == ("ls -la /",)


def test_it_looks_runs_and_submits() -> None:
    problem, expert = task("find /site | wc -l"), BashExpert()
    actions: list[str] = []
    while "submit" not in actions:
        actions.append(expert.move(problem, (), played(*actions)).action)
    assert actions == [
        "execute[ls -la /site]",
        "execute[find /site -maxdepth 2]",
        "execute[find /site | wc -l]",
        "submit",
    ]


def test_a_mistake_leaves_out_one_part_always_the_same_and_the_reflection_quotes_it() -> None:
    problem = task("sort -u /site/a.txt | head -n 3")
    expert = BashExpert(mistake_rate=1.0, seed=3)
    plan = expert.plan(problem, (), 1)
    assert plan == expert.plan(problem, (), 1)
    assert plan.mistake in ("drops_a_flag", "drops_a_stage")
    assert plan.command != "sort -u /site/a.txt | head -n 3"
    reflection = expert.reflect(problem, (), played(f"execute[{plan.command}]", "submit"))
    assert f"`{plan.left_out}`" in reflection
    assert expert.plan(problem, (), 2) == plan
    assert expert.plan(problem, ("I should be more careful.",), 2) == plan
    assert expert.plan(problem, (reflection,), 2).mistake is None


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ((), "never ran a command"),
        (("ls",), "execute\\[COMMAND\\]"),
        (("execute[sort /site/a.txt]", "submit"), "`uniq`"),
        (("execute[sort /site/a.txt | uniq]",), "never submitted"),
        (("execute[sort /site/a.txt | uniq]", "execute[ls]", "submit"), "only the last output"),
        (("execute[rm /site/b]", "execute[sort /site/a.txt | uniq]", "submit"), "after other commands"),
    ],
)
def test_a_reflection_says_what_went_wrong(actions: tuple[str, ...], said: str) -> None:
    text = BashExpert().reflect(task("sort /site/a.txt | uniq"), (), played(*actions))
    assert re.search(said, text)
    assert "Next time" in text


@needs_sandbox
@pytest.mark.slow
def test_it_solves_every_bundled_task_and_its_reflections_mend_its_mistakes() -> None:
    tasks = [problem for split in KIND.splits for problem in KIND.bundled(split)]
    solved = [play(BashExpert(), problem, (), 1)[1] is StopReason.SOLVED for problem in tasks]
    assert sum(solved) / len(solved) >= 0.98
    clumsy, mended, repeated = BashExpert(mistake_rate=1.0), [], []
    for problem in tasks[:25]:
        first, stop = play(clumsy, problem, (), 1)
        if stop is not StopReason.SOLVED:
            reflection = clumsy.reflect(problem, (), first)
            mended.append(play(clumsy, problem, (reflection,), 2)[1] is StopReason.SOLVED)
            repeated.append(play(clumsy, problem, (), 2)[1] is StopReason.SOLVED)
    assert len(mended) >= 10
    assert sum(mended) / len(mended) - sum(repeated) / len(repeated) >= 0.5

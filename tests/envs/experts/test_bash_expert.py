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


def all_moves(expert: BashExpert, problem: Task, reflections: tuple[str, ...] = ()) -> list[str]:
    actions: list[str] = []
    while "submit" not in actions:
        actions.append(expert.move(problem, reflections, played(*actions)).action)
    return actions


@pytest.mark.parametrize(
    "gold", ["sort -u /site/a.txt | head -n 3", "sed -i 's/a/b/' /site/a.txt", "rm /site/a.txt", "cat /site/a.txt"]
)
def test_a_mistake_is_the_same_in_every_trial_until_a_reflection_quotes_it(gold: str) -> None:
    problem, kinds = task(gold), set()
    for seed in range(20):
        expert = BashExpert(mistake_rate=1.0, seed=seed)
        plan = expert.plan(problem, (), 1)
        assert plan.mistake is not None
        kinds.add(plan.mistake)
        reflection = expert.reflect(problem, (), played(*all_moves(expert, problem)))
        assert f"`{plan.fault}`" in reflection
        assert expert.plan(problem, (), 2) == plan
        assert expert.plan(problem, ("I should be more careful.",), 2) == plan
        assert expert.plan(problem, (reflection,), 2).commands == (gold,)
        assert f"execute[{gold}]" in all_moves(expert, problem, (reflection,))
    assert kinds == {"leaves_files"} | ({"drops_a_flag"} if " -" in gold else set()) | (
        {"drops_a_stage"} if "|" in gold else set()
    )


def only_files_left(gold: str) -> BashExpert:
    """An expert whose mistake with this command is to leave files behind."""
    seeds = (BashExpert(mistake_rate=1.0, seed=seed) for seed in range(50))
    return next(expert for expert in seeds if expert.plan(task(gold), (), 1).mistake == "leaves_files")


@pytest.mark.parametrize(
    ("gold", "commands", "fault"),
    [
        ("sort /site/a.txt | uniq", ("sort /site/a.txt > /site/step.txt", "uniq < /site/step.txt > /site/answer.txt"),
         "/site/answer.txt"),
        ("md5sum /site/a.txt", ("md5sum /site/a.txt > /site/answer.txt",), "/site/answer.txt"),
        ("awk '$1 > 3' /site/a.txt", ("awk '$1 > 3' /site/a.txt > /site/answer.txt",), "/site/answer.txt"),
        ("tar -tf /site/a.tar 2> /dev/null", ("tar -tf /site/a.tar 2> /dev/null > /site/answer.txt",),
         "/site/answer.txt"),
        ("rm /site/a.txt", ("cp -r /site /site.bak", "rm /site/a.txt", "ls -la /site/"), "/site.bak"),
        ("tar -C /site -cf /b.tar x", ("cp -r /site /site.bak", "tar -C /site -cf /b.tar x", "ls -la /site/"),
         "/site.bak"),
        ("find /site -type f -delete", ("cp -r /site /site.bak", "find /site -type f -delete", "ls -la /site/"),
         "/site.bak"),
    ],
)  # fmt: skip
def test_files_of_its_own_are_the_answer_or_a_backup(gold: str, commands: tuple[str, ...], fault: str) -> None:
    plan = only_files_left(gold).plan(task(gold), (), 1)
    assert (plan.commands, plan.fault) == (commands, fault)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ((), "never ran a command"),
        (("ls",), "execute\\[COMMAND\\]"),
        (("execute[sort /site/a.txt]", "submit"), "`uniq`"),
        (("execute[sort /site/a.txt | uniq]",), "never submitted"),
        (("execute[sort /site/a.txt | uniq]", "execute[ls]", "submit"), "only the last output"),
        (
            ("execute[sort /site/a.txt | uniq > /site/b.txt]", "submit"),
            "`/site/b.txt` behind.*instead of being printed",
        ),
        (("execute[cp /site/a.txt /site/b]", "execute[sort /site/a.txt | uniq]", "submit"), "`/site/b` behind"),
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
    gains, successes = [], []
    for seed in range(2):
        clumsy = BashExpert(mistake_rate=1.0, seed=seed)
        for problem in tasks[seed::5]:
            first, stop = play(clumsy, problem, (), 1)
            if stop is not StopReason.SOLVED:
                with_it = play(clumsy, problem, (clumsy.reflect(problem, (), first),), 2)
                without = play(clumsy, problem, (), 2)
                gains.append(with_it[0].reward - without[0].reward)
                successes.append((with_it[1] is StopReason.SOLVED) - (without[1] is StopReason.SOLVED))
    assert len(gains) >= 18
    assert sum(gains) / len(gains) >= 0.45
    assert sum(successes) / len(successes) >= 0.9

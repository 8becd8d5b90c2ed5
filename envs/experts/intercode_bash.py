"""The look-around gold follower: look at the folders and files that matter, run the gold command, submit.

It knows the task's gold, so it shows how a task is solved, not that a model could. With a mistake rate some trials go
wrong as agents really go wrong: a flag or the last stage of a pipe is left out, the answer goes into files of their
own, or a backup and a look at the result come with the change that was asked for. A reflection that names what was
left out, or left behind, prevents the mistake.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from data.types import Task, Trial
from envs.base import Move
from envs.experts.chance import chance

Mistake = Literal["drops_a_flag", "drops_a_stage", "leaves_files"]
_LOOKS = 2
_PATH = re.compile(r"(?<![\w./~-])/(?!dev\b|proc\b|etc\b|usr\b|bin\b|tmp\b)[\w.-]+(?:/[\w.-]+)*")
_VALUED = "-name -iname -type -size -mtime -mmin -maxdepth -mindepth -perm -newer -path -user -d -F -k -n -t"
_FLAGS_WITH_VALUE = frozenset(_VALUED.split())
_EXECUTED = re.compile(r"\s*execute\[(.*)\]\s*", re.DOTALL | re.IGNORECASE)
_QUOTED = re.compile(r"`([^`]+)`")
_CHANGES = re.compile(
    r"(?:^|[\s;&|(])(?:cp|mv|rm|rmdir|mkdir|ln|touch|chmod|chown|truncate|tee|gzip|gunzip|unzip|zip|rsync|rename|"
    r"tar\s+(?:-\S+\s+\S+\s+)*-?\w*[cx]\w*|sed\s+-\w*i|sort\s.*-o)(?=\s)|-delete\b|>(?!\s*/dev/null|&)"
)
"""Commands that change files rather than print."""
_WRITTEN = re.compile(r"(?:>\s*|\bcp\s+(?:-\w+\s+)*\S+\s+)(/[\w./-]+)")
"""Paths that a command writes to or copies to."""


@dataclass(frozen=True)
class Plan:
    """What a trial will do: look, run the commands, submit; and what is wrong with them, if anything."""

    looks: tuple[str, ...]
    commands: tuple[str, ...]
    mistake: Mistake | None = None
    fault: str = ""
    """What was left out or left behind; a reflection that quotes it prevents it."""


class BashExpert:
    """Follows the gold command. `mistake_rate` is the share of trials that go wrong on purpose; which ones
    depends only on the seed, the task's id and the trial's index, and how only on the seed and the task's id."""

    def __init__(self, mistake_rate: float = 0.0, seed: int = 0) -> None:
        self.mistake_rate = mistake_rate
        self.seed = seed

    def move(self, task: Task, reflections: Sequence[str], trial: Trial) -> Move:
        """Look first, then run the command, then submit."""
        plan = self.plan(task, reflections, trial.index)
        done = [command for turn in trial.turns if (command := _command(turn.action)) is not None]
        if plan.commands[-1] in done[-1:]:
            return Move("The command did what was asked, so I submit.", "submit")
        for look in plan.looks:
            if look not in done and plan.commands[0] not in done:
                return Move(_look_thought(task, look), f"execute[{look}]")
        command = next((command for command in plan.commands if command not in done), plan.commands[-1])
        return Move(_command_thought(command, reflections), f"execute[{command}]")

    def plan(self, task: Task, reflections: Sequence[str], trial_index: int) -> Plan:
        """The right plan, or one with a mistake when the dice say so and no reflection names it."""
        gold = str(task.metadata.get("gold", ""))
        right = Plan(looks(gold), (gold,))
        if chance(repr((self.seed, task.id, trial_index))).random() >= self.mistake_rate:
            return right
        # The same mistake in every trial of a task, as agents repeat theirs until something tells them.
        dice = chance(repr((self.seed, task.id)))
        kinds = [plans for plans in (_with_parts_left_out(right), [_with_files_left(right)]) if plans]
        plan = dice.choice(dice.choice(kinds))
        return right if _names(plan.fault, reflections) else plan

    def reflect(self, task: Task, reflections: Sequence[str], trial: Trial) -> str:
        """Say what was left behind, what the command lacked or what else went wrong, and plan the next trial."""
        gold = str(task.metadata.get("gold", ""))
        commands = [command for turn in trial.turns if (command := _command(turn.action)) is not None]
        if not commands:
            return (
                "I never ran a command: every action must be written as execute[COMMAND], and submit comes last. "
                f"Next time I will run a command that uses {_listed(_parts(gold))}, and then submit."
            )
        if (left := _left_behind(gold, commands)) is not None:
            return _files_reflection(left, gold, commands)
        closest = min(reversed(commands), key=lambda command: len(set(gold.split()) ^ set(command.split())))
        missing = _missing(gold, closest)
        if not missing:
            return _order_reflection(closest, commands, trial)
        return (
            f"My command `{_short(closest)}` did not do what was asked: it lacked {_listed(missing)}. "
            f"Next time I will look at the files first, add {_listed(missing)}, check the output and then submit."
        )


def looks(gold: str) -> tuple[str, ...]:
    """Commands that look at what the gold command works on: the first folder it names, and the first file."""
    paths = list(dict.fromkeys(_PATH.findall(_unquoted(gold))))
    folders = [path for path in paths if "." not in path.rsplit("/", 1)[1]]
    named = [path for path in paths if path not in folders]
    folder = folders[0] if folders else named[0].rsplit("/", 1)[0] or "/" if named else "/"
    found = [f"ls -la {folder}"]
    found += [f"head -n 5 {path}" for path in named[:1]] or [f"find {folder} -maxdepth 2" for folder in folders[:1]]
    return tuple(found[:_LOOKS])


def stages(command: str) -> list[str]:
    """The stages of a pipe: split at each `|` outside quotes, brackets and substitutions, and not at `||`."""
    found, start, depth, quote, index = [], 0, 0, "", 0
    while index < len(command):
        character = command[index]
        if character == "\\" and quote != "'":
            index += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"`":
            quote = character
        elif character in "({":
            depth += 1
        elif character in ")}":
            depth -= 1
        elif character == "|" and depth == 0:
            if command[index + 1 : index + 2] == "|":
                index += 1
            else:
                found.append(command[start:index].strip())
                start = index + 1
        index += 1
    return [*found, command[start:].strip()]


def _with_parts_left_out(right: Plan) -> list[Plan]:
    """The plan with each one of its flags, or the last stage of its pipe, left out."""
    (gold,) = right.commands
    parts = stages(gold)
    plans = []
    if len(parts) > 1:
        plans.append(Plan(right.looks, (" | ".join(parts[:-1]),), "drops_a_stage", parts[-1]))
    for match in re.finditer(r"(?<=\s)-{1,2}[A-Za-z][\w-]*(?:=(?:'[^']*'|[^\s'|;&()]+))?", gold):
        if _is_quoted(gold, match.start()):
            continue
        end = match.end()
        if match[0] in _FLAGS_WITH_VALUE:
            value = re.match(r"\s+(?:'[^']*'|\"[^\"]*\"|[^\s|;&()`]+)", gold[end:])
            end += value.end() if value else 0
        elif match[0] in ("-exec", "-print0", "-0", "-c", "-o", "-e", "-a"):
            continue
        rest = f"{gold[: match.start()].rstrip()} {gold[end:].lstrip()}".strip()
        plans.append(Plan(right.looks, (rest,), "drops_a_flag", gold[match.start() : end]))
    return plans


def _with_files_left(right: Plan) -> Plan:
    """The plan of somebody careful in the wrong way: a backup before a change and a look after it, or an answer that
    goes into files instead of being printed."""
    (gold,) = right.commands
    folder = right.looks[0].removeprefix("ls -la ").rstrip("/")
    if _CHANGES.search(_unquoted(gold)):
        source = folder or "/tmp"  # noqa: S108 - a folder of the task's own tree
        commands: tuple[str, ...] = (f"cp -r {source} {source}.bak", gold, f"ls -la {folder}/")
        return Plan(right.looks, commands, "leaves_files", f"{source}.bak")
    answer, parts = f"{folder}/answer.txt", stages(gold)
    if len(parts) == 1:
        return Plan(right.looks, (f"{gold} > {answer}",), "leaves_files", answer)
    step = f"{folder}/step.txt"
    commands = (f"{' | '.join(parts[:-1])} > {step}", f"{parts[-1]} < {step} > {answer}")
    return Plan(right.looks, commands, "leaves_files", answer)


def _missing(gold: str, command: str) -> list[str]:
    """Parts of the gold command that `command` lacks: the last stages of its pipe, then flags, then programs."""
    ours = {_squeezed(part) for part in stages(command)}
    parts = stages(gold)
    if len(parts) > 1 and _squeezed(" ".join(parts[:-1])) == _squeezed(" ".join(stages(command))):
        return [parts[-1]]
    if all(_squeezed(part) in ours for part in parts):
        return []
    left_out = [plan.fault for plan in _with_parts_left_out(Plan((), (gold,))) if plan.mistake == "drops_a_flag"]
    words = _squeezed(command)
    lacking = [part for part in left_out if _squeezed(part) not in words]
    programs = [part for part in _parts(gold) if not re.search(rf"(?<![\w-]){re.escape(part)}(?![\w-])", command)]
    return list(dict.fromkeys([*programs, *lacking])) or [
        _short(part) for part in parts if _squeezed(part) not in ours
    ]


def _parts(gold: str) -> list[str]:
    """The programs that the stages of a pipe start with."""
    return list(dict.fromkeys(part.split()[0] for part in stages(gold) if part))


def _left_behind(gold: str, commands: Sequence[str]) -> str | None:
    """The last path that the commands wrote to and the gold command does not name."""
    paths = [path for command in commands for path in _WRITTEN.findall(_unquoted(command)) if path != "/dev/null"]
    return next((path for path in reversed(paths) if path not in gold), None)


def _files_reflection(left: str, gold: str, commands: Sequence[str]) -> str:
    """For a trial that wrote more files than it was asked for."""
    answered = left in commands[-1] and not _CHANGES.search(_unquoted(gold))
    where = "My answer went there instead of being printed. " if answered else ""
    return (
        f"I left `{left}` behind, which nobody asked for, and every file of my own counts as a mistake. {where}"
        f"Next time I will run one command that uses {_listed(_parts(gold))}, leave nothing else behind, run nothing "
        "after it, since the last output is the answer, and submit."
    )


def _order_reflection(command: str, commands: Sequence[str], trial: Trial) -> str:
    """For a trial that ran the right command and failed all the same."""
    if commands[-1] != command:
        return (
            f"I ran `{_short(command)}`, but then other commands, and only the last output and the files count. "
            "Next time I will run it last and submit at once."
        )
    if not any(turn.action.strip().lower() == "submit" for turn in trial.turns):
        return f"I ran `{_short(command)}` but never submitted. Next time I will submit right after it."
    return (
        f"I ran `{_short(command)}` after other commands had changed files. Next time I will run it alone and submit."
    )


def _look_thought(task: Task, look: str) -> str:
    if look.startswith("ls"):
        return f"I am asked: {task.instruction} First I look at what is in {look.split()[-1]}."
    return "I look closer at what I will work on before I write the command."


def _command_thought(command: str, reflections: Sequence[str]) -> str:
    programs = ", then ".join(_parts(command))
    if any(_QUOTED.search(reflection) for reflection in reflections):
        return f"As I noted after the last trial, nothing may be left out. I use {programs}."
    return f"Now I know the files. I use {programs}."


def _names(fault: str, reflections: Sequence[str]) -> bool:
    """Whether a reflection quotes what was left out or left behind, so that it will not be again."""
    quoted = [f" {_squeezed(text)} " for reflection in reflections for text in _QUOTED.findall(reflection)]
    return any(f" {_squeezed(fault)} " in text for text in quoted)


def _listed(parts: Sequence[str]) -> str:
    quoted = [f"`{part}`" for part in parts[:5]]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _command(action: str) -> str | None:
    match = _EXECUTED.fullmatch(action)
    return None if match is None else match[1]


def _unquoted(command: str) -> str:
    """Without quoted text, where a slash seldom starts a path."""
    return re.sub(r"'[^']*'", "''", command)


def _is_quoted(command: str, position: int) -> bool:
    before = command[:position]
    return before.count("'") % 2 == 1 or before.count('"') % 2 == 1


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _short(command: str) -> str:
    command = _squeezed(command).replace("`", "'")
    return command if len(command) <= 200 else command[:199] + "…"

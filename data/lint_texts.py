"""Training texts: what one sample shows and teaches, out of episodes or out of a file's rows, and how long it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from data.formats.entry import Dropped, Entry
from data.formats.source import rows_of
from data.types import Completion, Reflection, Trial

CHARACTERS_PER_TOKEN = 4


class Sizes(NamedTuple):
    """How long the parts of a text are."""

    prompt: int
    target: int
    masked: int


@dataclass(frozen=True)
class Text:
    """One sample as text."""

    id: str
    role: Literal["planner", "reflector"]
    prompt: str
    target: str
    """What is trained."""
    masked: str = ""
    """What stands between the trained parts (observations): shown, never trained."""
    task_id: str = ""
    split: str = "train"
    question: str = ""
    """What the task says; an answer that stands there has not leaked."""
    gold: tuple[str, ...] = ()
    database: str = ""
    """What several tasks are about; empty where every task has a world of its own."""
    has_transcript: bool = True
    tokens: Sizes | None = None
    """As recorded when the text was sampled, chat template included; None where it was not."""


Measure = Callable[[Text], Sizes]


def measure_by(count: Callable[[str], int]) -> Measure:
    """Measures each part by itself."""
    return lambda text: Sizes(count(text.prompt), count(text.target), count(text.masked))


def count_words(text: str) -> int:
    return len(text.split())


def tokens_of(text: Text) -> Sizes:
    """The recorded tokens; of a text without them one for every four characters."""
    return text.tokens or measure_by(lambda part: -(-len(part) // CHARACTERS_PER_TOKEN))(text)


def episode_texts(entry: Entry) -> Iterator[Text]:
    """The trials and reflections of an episode, as its record has them."""
    episode = entry.episode
    task = episode.task
    gold = tuple(str(task.metadata[key]) for key in ("answer", "gold") if isinstance(task.metadata.get(key), str))
    database = task.metadata.get("database")
    text = partial(
        Text,
        task_id=task.id,
        split=task.split,
        question=task.instruction,
        gold=gold,
        database=f"{task.env} {database}" if isinstance(database, str) else "",
    )
    for trial in episode.trials:
        if trial.turns:
            target = "\n".join(f"{turn.thought}\n{turn.action}".strip() for turn in trial.turns)
            masked = "\n".join(turn.observation for turn in trial.turns)
            name = f"{episode.id}/trial/{trial.index}"
            prompt = trial.prompt or trial.opening
            yield text(name, "planner", prompt, target, masked, tokens=_trial_tokens(trial))
    seen = {trial.index for trial in episode.trials if trial.turns}
    for reflection in episode.reflections:
        name = f"{episode.id}/reflection/{reflection.after_trial}"
        knows = bool(reflection.prompt) or reflection.after_trial in seen
        tokens = _reflection_tokens(reflection)
        yield text(name, "reflector", reflection.prompt, reflection.text, has_transcript=knows, tokens=tokens)


def _trial_tokens(trial: Trial) -> Sizes | None:
    """None when a turn was not sampled, or sampled where no tokens were given."""
    lengths = [_lengths(turn.completion) for turn in trial.turns]
    known = [one for one in lengths if one is not None]
    if not known or len(known) < len(lengths):
        return None
    return Sizes(known[0][0], sum(own for _, own in known), sum(context for context, _ in known[1:]))


def _reflection_tokens(reflection: Reflection) -> Sizes | None:
    lengths = _lengths(reflection.completion) if reflection.edited_from is None else None
    return Sizes(*lengths, 0) if lengths else None


def _lengths(completion: Completion | None) -> tuple[int, int] | None:
    """Tokens of the context and of what was sampled."""
    if completion is None or completion.context_ids is None or completion.token_ids is None:
        return None
    return len(completion.context_ids), len(completion.token_ids)


def row_texts(path: Path) -> Iterator[Text] | None:
    """Texts of a file whose rows are prompts and targets already; None when it is not such a file."""
    columns = next((found for _, row in rows_of(path) if (found := _columns(row)) is not None), None)
    return None if columns is None else _row_texts(path, *columns)


def _columns(row: object) -> tuple[str, str] | None:
    if not isinstance(row, dict):
        return None
    pairs = (("input", "output"), ("prompt", "completion"))
    return next((pair for pair in pairs if all(isinstance(row.get(name), str) for name in pair)), None)


def _row_texts(path: Path, prompt: str, target: str) -> Iterator[Text]:
    for number, row in rows_of(path):
        if isinstance(row, Dropped) or not isinstance(row, dict):
            continue
        shown, taught = str(row.get(prompt) or ""), str(row.get(target) or "")
        shown = f"{row['instruction']}\n{shown}".strip() if row.get("instruction") else shown
        role = "reflector" if "reflector" in (row.get("type"), row.get("role")) else "planner"
        yield Text(
            f"row {number}",
            "reflector" if role == "reflector" else "planner",
            shown,
            taught,
            task_id=str(row.get("task_id") or ""),
            split=str(row.get("split") or "train"),
        )

"""TRL's dataset shapes, JSON lines: what its trainers read as they are.

https://huggingface.co/docs/trl/dataset_formats. Every row also says where it came from, and the first one of an
episode carries its record; trainers ignore that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from data.formats.chat import Conversation, about_row
from data.formats.entry import FileFormat, Head
from data.formats.records import FIELD, Row, read_records

Pairs = Sequence[tuple[str, str]]


def prompt_completion(conversation: Conversation) -> Iterator[Row]:
    """One row for every reply that is worth imitating: all before it is the prompt."""
    for place, reply in _replies(conversation):
        if not conversation.trained or conversation.trained[reply]:
            yield {
                "prompt": chat(conversation.messages[:place]),
                "completion": chat(conversation.messages[place : place + 1]),
                **about_row(conversation),
                "turn": reply + 1,
            }


def unpaired(conversation: Conversation) -> Iterator[Row]:
    """`{"prompt", "completion", "label"}`: a reflection by what came of it, a turn by the step reward of people."""
    for place, reply in _replies(conversation):
        if conversation.role == "reflector":
            label = conversation.is_positive
        elif reply < len(conversation.step_rewards) and conversation.step_rewards[reply]:
            label = conversation.step_rewards[reply] == 1
        else:
            continue
        yield {
            "prompt": chat(conversation.messages[:place]),
            "completion": chat(conversation.messages[place : place + 1]),
            "label": label,
            **about_row(conversation),
        }


def stepwise(conversation: Conversation) -> Iterator[Row]:
    """`{"prompt", "completions", "labels"}` of the turns up to the first that nobody marked. 0 counts as not wrong;
    the three-valued rewards stand beside."""
    marks = list(conversation.step_rewards)
    marked = marks.index(None) if None in marks else len(marks)
    if conversation.role != "planner" or not conversation.is_whole or marked == 0:
        return
    replies = [place for place, _ in _replies(conversation)][:marked]
    prompt = "\n\n".join(content for _, content in conversation.messages[: replies[0]])
    between = [
        "" if step == 0 else f"Observation: {conversation.messages[place - 1][1]}\n"
        for step, place in enumerate(replies)
    ]
    yield {
        "prompt": prompt,
        "completions": [before + conversation.messages[p][1] for before, p in zip(between, replies, strict=True)],
        "labels": [mark is not None and mark >= 0 for mark in marks[:marked]],
        "step_rewards": marks[:marked],
        **about_row(conversation),
    }


def preference(about: Conversation, prompt: Pairs, chosen: str, rejected: str, why: str) -> Row:
    """`{"prompt", "chosen", "rejected"}` as messages."""
    return {
        "prompt": chat(prompt),
        "chosen": chat([("assistant", chosen)]),
        "rejected": chat([("assistant", rejected)]),
        "why": why,
        **about_row(about),
    }


def chat(pairs: Pairs) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in pairs]


def _replies(conversation: Conversation) -> Iterator[tuple[int, int]]:
    """(place among the messages, number among the replies) of every assistant message."""
    places = [place for place, (role, _) in enumerate(conversation.messages) if role == "assistant"]
    return ((place, reply) for reply, place in enumerate(places))


def _format(name: str, title: str, fields: set[str]) -> FileFormat:
    """Rows of ours: what they hold by themselves are no trials, so the records are read."""
    note = f"the rows are {title}, not trials: imported is the record of the episode that they carry"

    def detect(head: Head) -> bool:
        return head.first.keys() >= {*fields, FIELD}

    return FileFormat(name, f"TRL, {title} (JSON lines)", detect, lambda path: read_records(path, (note,)))


PREFERENCE = _format("preference", "pairs of a chosen and a rejected answer", {"prompt", "chosen", "rejected"})
UNPAIRED = _format("unpaired", "answers marked good or bad", {"prompt", "completion", "label"})
STEPWISE = _format("stepwise", "turns marked right or wrong", {"prompt", "completions", "labels"})

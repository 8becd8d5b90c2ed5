"""Episodes as chats, with the very prompts of play: what the exporters for other trainers write.

Labels are applied first (`training_view`), so rewrites are demonstrations and verdicts decide what is positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from data.formats.chat import Conversation
from data.formats.entry import Entry
from data.types import Episode, Reflection, StopReason, Trial
from envs import ENVIRONMENTS, environment_kind
from retro_dash.agent.briefing import brief_reflector, recorded_messages
from retro_dash.agent.limits import Limits
from retro_dash.agent.prompts import Message
from retro_dash.agent.reply import reply_text
from retro_dash.training_view import Final, final_values, training_view

Pairs = tuple[tuple[str, str], ...]


class Preference(NamedTuple):
    """Two answers to the same prompt, the first preferred."""

    about: Conversation
    """The conversation that the chosen answer belongs to."""
    prompt: Pairs
    chosen: str
    rejected: str
    why: str
    """`rewrite`, or `outcome` for two reflections on the same prompt."""
    entries: tuple[Entry, ...]
    """The episodes of both answers."""


def conversations(entries: Iterable[Entry], limits: Limits | None = None) -> Iterator[Conversation]:
    """One chat a trial and a reflection, discarded ones left out."""
    limits = limits or Limits()
    for entry in entries:
        final = final_values(entry.labels)
        annotators = tuple(sorted({label.annotator for label in entry.labels}))
        for seen in training_view(entry.episode, final):
            for trial in seen.trials:
                if trial.turns and trial.stop_reason is not StopReason.STOPPED:
                    yield _of_trial(seen, trial, entry.episode.id, final, annotators, limits)
            solved = {trial.index for trial in seen.trials if trial.success}
            for reflection in seen.reflections:
                if reflection.text.strip() and _is_own(seen, entry.episode, reflection):
                    is_positive = reflection.after_trial + 1 in solved
                    yield _of_reflection(seen, reflection, entry.episode.id, is_positive, annotators, limits)


def preferences(entries: Iterable[Entry], limits: Limits | None = None) -> Iterator[Preference]:
    """Pairs from rewrites, and from reflections on the same prompt of which one helped and the other did not.

    Who is paired with whom does not depend on the order of the episodes.
    """
    limits = limits or Limits()
    by_prompt: dict[Pairs, list[tuple[Conversation, Entry]]] = {}
    for entry in entries:
        yield from _rewrites(entry, limits)
        for conversation in conversations([entry], limits):
            if conversation.role == "reflector":
                by_prompt.setdefault(conversation.messages[:-1], []).append((conversation, entry))
    pairs = [pair for prompt, answers in by_prompt.items() for pair in _outcomes(prompt, answers)]
    yield from sorted(pairs, key=lambda pair: (pair.about.episode_id, pair.about.trial))


def _outcomes(prompt: Pairs, answers: Sequence[tuple[Conversation, Entry]]) -> Iterator[Preference]:
    """One that helped and one that did not, each used once."""
    ordered = sorted(answers, key=lambda answer: (answer[0].episode_id, answer[0].trial))
    good = [answer for answer in ordered if answer[0].is_positive]
    bad = [answer for answer in ordered if not answer[0].is_positive]
    for (chosen, its), (rejected, other) in zip(good, bad, strict=False):
        texts = chosen.messages[-1][1], rejected.messages[-1][1]
        yield Preference(chosen, prompt, *texts, "outcome", (its, other))


def _is_own(seen: Episode, whole: Episode, reflection: Reflection) -> bool:
    """In the episodes that were cut out for one part, the other reflections are context only."""
    return seen.id == whole.id or seen.id.startswith(f"{whole.id}/reflection-{reflection.after_trial}-")


def _of_trial(
    episode: Episode, trial: Trial, id_: str, final: Final, annotators: tuple[str, ...], limits: Limits
) -> Conversation:
    is_cut = episode.id != id_
    number = trial.index - 1 if is_cut else trial.index  # A cut trial stands one later than it was.
    messages = [*_planner_prompt(episode, trial, limits)]
    for turn in trial.turns:
        messages.append(("assistant", reply_text(turn)))
        if turn.index < trial.turns[-1].index:
            messages.append(("user", turn.observation))
    return Conversation(
        episode_id=id_,
        role="planner",
        trial=number,
        messages=tuple(messages),
        trained=tuple(turn.is_valid and not turn.is_malformed for turn in trial.turns),
        step_rewards=tuple(step_reward(final, number, turn.index) for turn in trial.turns),
        is_whole=not is_cut,
        reward=trial.reward,
        success=trial.success,
        is_positive=trial.success,
        annotators=annotators,
        **_task(episode),
    )


def _of_reflection(
    episode: Episode, reflection: Reflection, id_: str, is_positive: bool, annotators: tuple[str, ...], limits: Limits
) -> Conversation:
    after = next((t for t in episode.trials if t.index == reflection.after_trial + 1), None)
    return Conversation(
        episode_id=id_,
        role="reflector",
        trial=reflection.after_trial,
        messages=(*_reflector_prompt(episode, reflection, limits), ("assistant", reflection.text.strip())),
        reward=after.reward if after else 0.0,
        success=bool(after and after.success),
        gain=reflection.gain,
        is_positive=is_positive,
        annotators=annotators,
        **_task(episode),
    )


def _task(episode: Episode) -> dict[str, str]:
    return {"task_id": episode.task.id, "env": episode.task.env, "split": episode.task.split}


def step_reward(final: Final, trial: int, turn: int) -> int | None:
    """+1, 0 or -1 that people gave the turn, also by naming the first wrong one; None for unmarked."""
    given = final.get(("turn", trial, turn), {}).get("step_reward")
    if isinstance(given, int):
        return given
    first = final.get(("trial", trial, None), {}).get("first_error")
    if not isinstance(first, int) or (first and turn > first):
        return None
    return -1 if turn == first else 1


def _planner_prompt(episode: Episode, trial: Trial, limits: Limits) -> Pairs:
    if episode.task.env not in ENVIRONMENTS:
        return (("user", trial.prompt or trial.opening or episode.task.instruction),)
    return _pairs(recorded_messages(episode, environment_kind(episode.task.env), trial, limits))


def _reflector_prompt(episode: Episode, reflection: Reflection, limits: Limits) -> Pairs:
    trial = next(t for t in episode.trials if t.index == reflection.after_trial)
    if episode.task.env not in ENVIRONMENTS or not trial.turns:
        return (("user", reflection.prompt or trial.opening or episode.task.instruction),)
    return _pairs(brief_reflector(episode, environment_kind(episode.task.env), trial, limits).messages)


def _pairs(messages: Sequence[Message]) -> Pairs:
    return tuple((message.role, message.content) for message in messages)


def _rewrites(entry: Entry, limits: Limits) -> Iterator[Preference]:
    """(new, old) of every rewrite that stands."""
    final = final_values(entry.labels)
    for conversation in conversations([entry], limits):
        if conversation.role == "planner" and not conversation.is_whole:
            old = _old_turn(entry.episode, conversation)
            prompt, new = conversation.messages[:-1], conversation.messages[-1][1]
            yield Preference(conversation, prompt, new, old, "rewrite", (entry,))
        elif conversation.role == "reflector":
            said = final.get(("reflection", conversation.trial, None), {})
            if _rewritten(said.get("rewrite")) == conversation.messages[-1][1]:
                before = next(r for r in entry.episode.reflections if r.after_trial == conversation.trial)
                chosen = conversation.messages[-1][1]
                old = before.text.strip()
                yield Preference(conversation, conversation.messages[:-1], chosen, old, "rewrite", (entry,))


def _rewritten(value: JsonValue) -> str | None:
    return str(value["text"]).strip() if isinstance(value, dict) and "text" in value else None


def _old_turn(episode: Episode, conversation: Conversation) -> str:
    trial = next(t for t in episode.trials if t.index == conversation.trial)
    return reply_text(trial.turns[len(conversation.trained) - 1])

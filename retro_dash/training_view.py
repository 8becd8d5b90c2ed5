"""What people said, applied to an episode before training: rewrites become demonstrations, verdicts choose.

    verdict expert, good   of an episode: its last trial is imitated; of a trial or a reflection: it is imitated
    verdict bad            it is not imitated, and still counts for RL with its reward
    verdict discard        it is left out of everything
    step_reward -1, or bad of a turn    the turn stays as context and is not imitated
    rewrite                the text is imitated in its context, instead of what stood there

A reflection or turn that is imitated for itself becomes an episode of its own, cut so that nothing else is a target.
Pure: episodes and labels in, episodes out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from data.types import Episode, EpisodeState, Label, Reflection, StopReason, Trial, Turn
from retro_dash.labels import Part, part_of

Final = Mapping[Part, Mapping[str, JsonValue]]
POSITIVE = ("expert", "good")


def final_values(labels: Sequence[Label]) -> Final:
    """One value for every target and name, from the labels that stand.

    An adjudication decides; else the value that most annotators gave, the newest among equals.
    """
    given: dict[Part, dict[str, list[Label]]] = defaultdict(lambda: defaultdict(list))
    for label in labels:
        given[part_of(label.target)][label.name].append(label)
    final: dict[Part, dict[str, JsonValue]] = {}
    for part, names in given.items():
        final[part] = {name: _majority(these) for name, these in names.items() if name != "adjudication"}
        for label in names.get("adjudication", ()):
            final[part].update(label.value if isinstance(label.value, dict) else {})
    return final


def training_view(episode: Episode, final: Final) -> list[Episode]:
    """The episodes that training is to see in the place of this one; none when it is discarded."""
    whole = _verdict(final, ("episode", None, None))
    if whole == "discard":
        return []
    last = episode.trials[-1].index if episode.trials else 0
    trials = tuple(_trial(trial, final, whole, trial.index == last) for trial in episode.trials)
    reflections = tuple(_reflection(episode, reflection, final) for reflection in episode.reflections)
    seen = episode.model_copy(update={"trials": trials, "reflections": reflections})
    return [seen, *_own_episodes(episode, final)]


def _majority(labels: Sequence[Label]) -> JsonValue:
    counts = Counter(repr(label.value) for label in labels)
    most = max(counts.values())
    return next(label.value for label in reversed(labels) if counts[repr(label.value)] == most)


def _verdict(final: Final, part: Part) -> JsonValue:
    return final.get(part, {}).get("verdict")


def _trial(trial: Trial, final: Final, whole: JsonValue, is_last: bool) -> Trial:
    verdict = _verdict(final, ("trial", trial.index, None))
    turns = tuple(_turn(turn, final, trial.index) for turn in trial.turns)
    if verdict == "discard":
        left = {"success": False, "stop_reason": StopReason.STOPPED}
        return trial.model_copy(update={"turns": turns, **left})
    success = trial.success and whole != "bad"
    if verdict in POSITIVE or (verdict is None and whole in POSITIVE and is_last):
        success = True
    elif verdict == "bad":
        success = False
    return trial.model_copy(update={"turns": turns, "success": success})


def _turn(turn: Turn, final: Final, trial: int) -> Turn:
    said = final.get(("turn", trial, turn.index), {})
    is_bad = said.get("step_reward") == -1 or said.get("verdict") in ("bad", "discard") or "rewrite" in said
    return turn.model_copy(update={"is_valid": False}) if is_bad else turn


def has_transcript(episode: Episode, reflection: Reflection) -> bool:
    """Whether it is known what was reflected on; logs of outcomes alone do not say it."""
    return bool(reflection.prompt) or any(t.turns for t in episode.trials if t.index == reflection.after_trial)


def _reflection(episode: Episode, reflection: Reflection, final: Final) -> Reflection:
    """A reflection that is not to be imitated keeps its place and loses its text; recorded prompts still have it."""
    said = final.get(("reflection", reflection.after_trial, None), {})
    is_kept = said.get("verdict") not in ("bad", "discard") and "rewrite" not in said
    if is_kept and has_transcript(episode, reflection):
        return reflection
    # RL passes over what the reflector did not write.
    return reflection.model_copy(update={"text": "", "completion": None, "author": "human"})


def _own_episodes(episode: Episode, final: Final) -> list[Episode]:
    made = []
    for reflection in episode.reflections:
        said = final.get(("reflection", reflection.after_trial, None), {})
        rewrite = said.get("rewrite")
        if isinstance(rewrite, dict):
            changes = {"text": str(rewrite["text"]), "author": "human", "completion": None}
            made.append(
                _for_reflection(
                    episode, reflection.model_copy(update={**changes, "edited_from": reflection.text}), "rewrite"
                )
            )
        elif said.get("verdict") in POSITIVE:
            made.append(_for_reflection(episode, reflection, "verdict"))
        elif said.get("verdict") == "bad":
            made.append(_for_rl(episode, reflection))
    for trial in episode.trials:
        for turn in trial.turns:
            rewrite = final.get(("turn", trial.index, turn.index), {}).get("rewrite")
            if isinstance(rewrite, dict):
                made.append(_for_turn(episode, trial, turn, rewrite))
    return made


def _for_reflection(episode: Episode, reflection: Reflection, why: str) -> Episode:
    """The episode up to a reflection that is worth imitating, and nothing else that is."""
    trials = [
        trial.model_copy(update={"success": False, "stop_reason": StopReason.STOPPED})
        for trial in episode.trials
        if trial.index <= reflection.after_trial
    ]
    proof = trials[-1].model_copy(
        update={"index": reflection.after_trial + 1, "turns": (), "success": True, "stop_reason": StopReason.SOLVED}
    )
    earlier = [r for r in episode.reflections if r.after_trial < reflection.after_trial]
    return episode.model_copy(
        update={
            "id": f"{episode.id}/reflection-{reflection.after_trial}-{why}",
            "trials": (*trials, proof),
            "reflections": (*earlier, reflection),
            "state": EpisodeState.SOLVED,
        }
    )


def _for_rl(episode: Episode, reflection: Reflection) -> Episode:
    """The outcomes around a reflection that RL may learn from and nobody is to imitate."""
    outcomes = tuple(trial.model_copy(update={"turns": (), "success": False}) for trial in episode.trials)
    name = f"{episode.id}/reflection-{reflection.after_trial}-bad"
    return episode.model_copy(update={"id": name, "trials": outcomes, "reflections": (reflection,)})


def _for_turn(episode: Episode, trial: Trial, turn: Turn, rewrite: Mapping[str, JsonValue]) -> Episode:
    """The trial up to a rewritten turn, which alone is worth imitating."""
    before = tuple(t.model_copy(update={"is_valid": False}) for t in trial.turns if t.index < turn.index)
    old = turn.completion.text if turn.completion else f"{turn.thought}\n{turn.action}".strip()
    new = turn.model_copy(
        update={
            "thought": str(rewrite.get("thought", turn.thought)),
            "action": str(rewrite.get("action", turn.action)),
            "observation": "",
            "author": "human",
            "edited_from": old,
            "is_valid": True,
            "is_malformed": False,
            "completion": None,
        }
    )
    # One number later than it was: so the reflection before it is in its prompt, and is not taken for proven right.
    solved = {"index": trial.index + 1, "success": True, "stop_reason": StopReason.SOLVED, "view": None}
    cut = trial.model_copy(update={"turns": (*before, new), **solved})
    earlier = tuple(
        t.model_copy(update={"success": False, "stop_reason": StopReason.STOPPED})
        for t in episode.trials
        if t.index < trial.index
    )
    return episode.model_copy(
        update={
            "id": f"{episode.id}/turn-{trial.index}-{turn.index}-rewrite",
            "trials": (*earlier, cut),
            "reflections": tuple(r for r in episode.reflections if r.after_trial < trial.index),
            "state": EpisodeState.SOLVED,
        }
    )

"""Episodes and requests for the tests of curation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from data.events import EpisodeStarted, Event
from data.store import Store
from data.types import Episode, EpisodeState, LabelTarget, Reflection, StopReason, Task, Trial, Turn

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_ids = count()


def make_episode(
    id_: str,
    rewards: tuple[float, ...] = (0.0, 1.0),
    actions: tuple[str, ...] = ("search[Nile]", "finish[Nile]"),
    advice: str = "Compare both rivers before you answer.",
    task_id: str | None = None,
    **changes: object,
) -> Episode:
    """An episode with one trial a reward, all of the same actions, and a reflection between two trials."""
    trials = tuple(
        Trial(
            index=index,
            prompt="Which river is longer?",
            opening="You may search.",
            turns=tuple(
                Turn(index=k, thought=f"I try {action}.", action=action, observation=f"Seen {k}.", reward=reward)
                for k, action in enumerate(actions, start=1)
            ),
            reward=reward,
            success=reward == 1,
            stop_reason=StopReason.SOLVED if reward == 1 else StopReason.FAILED,
            started_at=NOW,
            finished_at=NOW,
        )
        for index, reward in enumerate(rewards, start=1)
    )
    reflections = tuple(
        Reflection(
            after_trial=index,
            text=advice,
            author="reflector",
            gain=rewards[index] - rewards[index - 1],
            created_at=NOW,
        )
        for index in range(1, len(rewards))
    )
    fields = {
        "id": id_,
        "task": Task(
            id=task_id or f"task-{id_}", env="hotpotqa", split="dev", instruction="Which river is longer?",
            metadata={"answer": "the Nile"},
        ),
        "planner": "smollm2",
        "reflector": "smollm2",
        "trials": trials,
        "reflections": reflections,
        "state": EpisodeState.SOLVED if rewards and rewards[-1] == 1 else EpisodeState.FAILED,
        "run_id": "collect-1",
        "created_at": NOW,
    }  # fmt: skip
    return Episode.model_validate(fields | changes)


def fill(store: Store, *episodes: Episode) -> None:
    """Put episodes into a store."""
    store.append(
        [
            Event(
                run_id=f"r-{episode.id}",
                seq=0,
                at=NOW + timedelta(seconds=place),
                body=EpisodeStarted(episode=episode),
            )
            for place, episode in enumerate(episodes)
        ]
    )


def target(
    episode_id: str = "e1", part: str = "episode", trial: int | None = None, turn: int | None = None
) -> LabelTarget:
    return LabelTarget.model_validate({"episode_id": episode_id, "part": part, "trial": trial, "turn": turn})


def request(
    value: object = "good",
    name: str = "verdict",
    on: LabelTarget | None = None,
    annotator: str = "kim",
    id_: str | None = None,
    **more: object,
) -> dict[str, object]:
    """A label as a client sends it, as JSON."""
    where = (on or target()).model_dump()
    return {
        "id": id_ or f"l{next(_ids)}",
        "target": where,
        "name": name,
        "value": value,
        "annotator": annotator,
        **more,
    }

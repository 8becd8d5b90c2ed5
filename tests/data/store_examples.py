"""Episodes and events for the tests of the store: by hand, and by hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import strategies as st

from data.events import (
    EpisodeFinished,
    EpisodeStarted,
    Event,
    EventBody,
    LabelMade,
    ReflectionWritten,
    TrialFinished,
    TrialStarted,
    TurnTaken,
)
from data.types import (
    Completion,
    Episode,
    EpisodeState,
    Label,
    LabelTarget,
    Reflection,
    StopReason,
    Strategy,
    Task,
    Trial,
    Turn,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Numbered:
    """Numbers a run's events, as its writer does."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._seq = count()

    def __call__(self, body: EventBody) -> Event:
        seq = next(self._seq)
        return Event(run_id=self.run_id, seq=seq, at=NOW + timedelta(seconds=seq), body=body)


def empty_episode(id_: str = "e1", run_id: str = "play", **changes: object) -> Episode:
    fields = {
        "id": id_,
        "task": Task(id="task-1", env="hotpotqa", split="dev", instruction="Which river is longer?"),
        "planner": "smollm2-135m",
        "reflector": "expert",
        "run_id": run_id,
        "created_at": NOW,
    }
    return Episode.model_validate(fields | changes)


def trial_started(index: int, episode_id: str = "e1") -> TrialStarted:
    trial = Trial(index=index, prompt="Solve it.", opening="You may search.", started_at=NOW)
    return TrialStarted(episode_id=episode_id, trial=trial)


def turn_taken(trial: int, index: int, episode_id: str = "e1", action: str = "search[Nile]") -> TurnTaken:
    completion = Completion(policy="smollm2-135m", text=action, token_ids=(5, 6), logprobs=(-0.5, -0.25))
    turn = Turn(
        index=index,
        thought="I look.",
        action=action,
        observation="The Nile is long.",
        reward=0,
        completion=completion,
    )
    return TurnTaken(episode_id=episode_id, trial=trial, turn=turn)


def trial_finished(index: int, reward: float, episode_id: str = "e1") -> TrialFinished:
    is_solved = reward == 1
    stop_reason = StopReason.SOLVED if is_solved else StopReason.FAILED
    return TrialFinished(
        episode_id=episode_id, trial=index, reward=reward, success=is_solved, stop_reason=stop_reason, finished_at=NOW
    )


def reflection_written(after_trial: int, text: str = "Compare both.", episode_id: str = "e1") -> ReflectionWritten:
    reflection = Reflection(after_trial=after_trial, text=text, author="reflector", created_at=NOW)
    return ReflectionWritten(episode_id=episode_id, reflection=reflection)


def played_episode(rewards: tuple[float, ...], id_: str = "e1", **changes: object) -> list[EventBody]:
    """The events of a whole episode with a turn a trial and a reflection between trials."""
    bodies: list[EventBody] = [EpisodeStarted(episode=empty_episode(id_, **changes))]
    for index, reward in enumerate(rewards, start=1):
        if index > 1:
            bodies.append(reflection_written(index - 1, episode_id=id_))
        bodies += [trial_started(index, id_), turn_taken(index, 1, id_), trial_finished(index, reward, id_)]
    state = EpisodeState.SOLVED if rewards[-1] == 1 else EpisodeState.FAILED
    return [*bodies, EpisodeFinished(episode_id=id_, state=state)]


def label_made(id_: str, value: object = "expert", *, undoes: str | None = None, **changes: object) -> LabelMade:
    fields = {
        "id": id_,
        "target": LabelTarget(episode_id="e1", part="episode"),
        "name": "verdict",
        "value": value,
        "annotator": "kim",
        "at": NOW,
        "undoes": undoes,
    }
    return LabelMade(label=Label.model_validate(fields | changes))


# By hypothesis ------------------------------------------------------------------------------------------------------

texts = st.text(max_size=30)
names = st.text(min_size=1, max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
times = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
json_objects = st.dictionaries(texts, st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | numbers | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3), max_leaves=5,
), max_size=3)  # fmt: skip


@st.composite
def completions(draw: st.DrawFn) -> Completion:
    ids = st.lists(st.integers(0, 200_000), max_size=6).map(tuple)
    token_ids = draw(st.none() | ids)
    count_ = len(token_ids or ())
    logprobs = st.lists(st.floats(-50, 0, width=32), min_size=count_, max_size=count_).map(tuple)
    return Completion(
        policy=draw(names),
        text=draw(texts),
        finish_reason=draw(st.sampled_from(("stop", "length", "abort"))),
        context_ids=None if token_ids is None else draw(st.none() | ids),
        token_ids=token_ids,
        logprobs=None if token_ids is None else draw(logprobs),
        temperature=draw(st.floats(0, 2)),
        seconds=draw(st.floats(0, 1000)),
    )


@st.composite
def turns(draw: st.DrawFn, index: int) -> Turn:
    return Turn(
        index=index,
        thought=draw(texts),
        action=draw(texts),
        observation=draw(texts),
        reward=draw(numbers),
        author=draw(st.sampled_from(("planner", "expert", "human"))),
        edited_from=draw(st.none() | texts),
        is_valid=draw(st.booleans()),
        is_malformed=draw(st.booleans()),
        completion=draw(st.none() | completions()),
        view=draw(st.none() | json_objects),
        seconds=draw(st.floats(0, 1000)),
    )


@st.composite
def trials(draw: st.DrawFn, index: int) -> Trial:
    stop_reason = draw(st.none() | st.sampled_from(StopReason))
    return Trial(
        index=index,
        prompt=draw(texts),
        opening=draw(texts),
        turns=tuple(draw(turns(place)) for place in range(1, draw(st.integers(1, 4)))),
        reward=draw(st.floats(-1e6, 1e6)),
        success=draw(st.booleans()),
        stop_reason=stop_reason,
        error=draw(st.none() | texts),
        view=draw(st.none() | json_objects),
        started_at=draw(times),
        finished_at=draw(st.none() | times),
    )


@st.composite
def episodes(draw: st.DrawFn, id_: str = "e1") -> Episode:
    """Whole episodes as importers make them; gains are not given, the store works them out."""
    made = tuple(draw(trials(index)) for index in range(1, draw(st.integers(1, 4))))
    reflected = draw(st.lists(st.sampled_from([t.index for t in made]), unique=True)) if made else []
    return Episode(
        id=id_,
        task=Task(
            id=draw(names),
            env=draw(names),
            split=draw(names),
            instruction=draw(texts),
            turn_limit=draw(st.none() | st.integers(1, 1000)),
            metadata=draw(json_objects),
        ),
        planner=draw(names),
        reflector=draw(names),
        strategy=draw(st.sampled_from(Strategy)),
        trial_limit=draw(st.integers(1, 20)),
        temperature=draw(st.floats(0, 2)),
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        options=draw(json_objects),
        trials=made,
        reflections=tuple(draw(reflections(after)) for after in sorted(reflected)),
        state=draw(st.sampled_from(EpisodeState)),
        parent_id=draw(st.none() | names),
        fork_trial=draw(st.none() | st.integers(1, 9)),
        fork_turn=draw(st.none() | st.integers(1, 99)),
        run_id="import",
        source=draw(names),
        created_at=draw(times),
    )


@st.composite
def reflections(draw: st.DrawFn, after_trial: int) -> Reflection:
    return Reflection(
        after_trial=after_trial,
        text=draw(texts),
        author=draw(st.sampled_from(("reflector", "human", "expert"))),
        edited_from=draw(st.none() | texts),
        prompt=draw(texts),
        completion=draw(st.none() | completions()),
        created_at=draw(times),
    )

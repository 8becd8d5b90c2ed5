"""A home with hostile text in every column: episodes, runs, curves, adapters, datasets, labels, logs, reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from data.events import (
    AdapterPublished,
    DatasetFrozen,
    EpisodeStarted,
    Event,
    EventBody,
    LabelMade,
    MetricsLogged,
    RunCreated,
    RunStateChanged,
)
from data.store import Store
from data.types import (
    Adapter,
    DatasetVersion,
    Episode,
    Label,
    LabelTarget,
    Reflection,
    Run,
    StopReason,
    Task,
    Trial,
    Turn,
)
from retro_dash.evaluating import make_report
from retro_dash.run_config import EvaluateConfig
from retro_dash.run_folder import make_run_folder
from retro_dash.tagset import Tag, TagSet, TagSets

NOW = datetime(2026, 11, 20, tzinfo=UTC)
EPISODE, TRAINED, EVALUATED = "ep-hostile-home", "train-hostile", "evaluate-hostile"


def fill(home: Path, corpus: Sequence[str]) -> None:
    """Make the home. Every text holds the whole corpus, first the payload that a page or screen is looked at for."""
    text = " ".join(corpus)
    with Store.open(home) as store:
        trained = _run(home, TRAINED, "train", text, {"kind": "train", "model": text, "note": text})
        store.append(_events(trained, [*_curves(text), *_artefacts(text, home), _labels(text), *_ending(text)]))
        config = EvaluateConfig.model_validate(
            {
                "env": "alfworld",
                "model": text,
                "trials": 2,
                "arms": [{"name": f"{n} {text}"[:200], "planner": f"{text}", "reflector": text} for n in range(2)],
            }
        )
        arms = {arm.name: [_episode(text, f"{EPISODE}-{n}", EVALUATED)] for n, arm in enumerate(config.arms)}
        evaluated = _run(home, EVALUATED, "evaluate", text, config.model_dump(mode="json"))
        played = [EpisodeStarted(episode=one) for episodes in arms.values() for one in episodes]
        store.append(_events(evaluated, [*played, RunStateChanged(state="finished")]))
        report = make_report(config, EVALUATED, arms)
        (home / "runs" / EVALUATED / "report.json").write_text(report.model_dump_json(), encoding="utf-8")
    tags = tuple(Tag(name=f"tag {n}", meaning=text[:400], key="") for n in range(2))
    TagSets(home / "curation").replace(TagSet(version=0, tags=tags))


def _run(home: Path, id_: str, kind: str, text: str, config: dict) -> Run:
    run = Run(
        id=id_, kind=kind, name=text[:200], config=config, state="queued", created_at=NOW, dataset_hash="d" * 64
    )
    folder = make_run_folder(home / "runs", run, ['{"id": "nothing"}'], {"filter": text, "split": text})
    folder.log.write_text(text, encoding="utf-8")
    return run


def _events(run: Run, bodies: Sequence[EventBody]) -> list[Event]:
    whole = [RunCreated(run=run), *bodies]
    return [Event(run_id=run.id, seq=seq, at=NOW, body=body) for seq, body in enumerate(whole)]


def _curves(text: str) -> list[EventBody]:
    return [MetricsLogged(step=step, values={text: 1.0 / step, "planner/il_loss": 2.0 / step}) for step in (1, 2, 3)]


def _artefacts(text: str, home: Path) -> list[EventBody]:
    adapter = Adapter(
        name=text[:100], role="planner", base_model=text, path=str(home / "none"), run_id=TRAINED, created_at=NOW
    )
    dataset = DatasetVersion(hash="d" * 64, name=text[:100], filter=text, episode_ids=(EPISODE,), created_at=NOW)
    return [AdapterPublished(adapter=adapter), DatasetFrozen(dataset=dataset), EpisodeStarted(episode=_episode(text))]


def _labels(text: str) -> EventBody:
    target = LabelTarget(episode_id=EPISODE, part="episode")
    return LabelMade(label=Label(id="l1", target=target, name="note", value=text, annotator=text[:80], at=NOW))


def _ending(text: str) -> list[EventBody]:
    return [RunStateChanged(state="running"), RunStateChanged(state="failed", error=text)]


def _episode(text: str, id_: str = EPISODE, run_id: str = TRAINED) -> Episode:
    turn = Turn(
        index=1, thought=text, action=text, observation=text, reward=0.0, author="human", edited_from=text,
        view={"location": text, "inventory": [text]},
    )  # fmt: skip
    trial = Trial(
        index=1, prompt=text, opening=text, turns=(turn,), reward=0.0, success=False, stop_reason="failed",
        error=text, started_at=NOW, finished_at=NOW,
    )  # fmt: skip
    second = trial.model_copy(update={"index": 2, "reward": 1.0, "success": True, "stop_reason": StopReason.SOLVED})
    reflection = Reflection(after_trial=1, text=text, author="reflector", edited_from=text, gain=1.0, created_at=NOW)
    return Episode(
        id=id_, task=Task(id=text, env="alfworld", split=text, instruction=text), planner=text, reflector=text,
        trials=(trial, second), reflections=(reflection,), state="solved", run_id=run_id, source=text, created_at=NOW,
    )  # fmt: skip

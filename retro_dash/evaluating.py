"""Evaluation as in the papers: every arm plays the same tasks, K trials each, and the report says who scored what."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pydantic import JsonValue

from data.events import MetricsLogged
from data.types import Episode, Noun
from retro_dash.agent.shuffled import SHUFFLED, ShuffledPolicy
from retro_dash.collecting import engine_for, finished_episodes, play_arm, read_dataset_tasks
from retro_dash.evaluation_figure import figure_html
from retro_dash.run_config import Arm, EvaluateConfig
from retro_dash.run_folder import EventLog, RunFolder, all_events
from retro_dash.scores import Comparison, Interval, Scores, compare, score
from retro_dash.settings import Settings

log = logging.getLogger("retro_dash.worker")
ShouldStop = Callable[[], bool]


class ArmReport(Noun):
    """What one method scored."""

    arm: Arm
    reward: Scores
    success: Scores
    errors: int
    """Episodes that the model or the environment broke; they count with the reward they had."""
    compared: Comparison | None = None
    """Against the first arm."""


class EvaluationReport(Noun):
    """Everything that a table or a figure needs, with what it was made from."""

    run_id: str
    env: str
    model: str
    tasks: int
    trials: int
    seeds: tuple[int, ...]
    measure: str
    arms: tuple[ArmReport, ...]
    finished_at: datetime

    def markdown(self) -> str:
        """The table of the papers: IR, FR, AR with 95 % bootstrap intervals over tasks."""
        lines = [
            f"{self.tasks} {self.env} tasks, {self.trials} trials, seeds {', '.join(map(str, self.seeds))}, "
            f"model {self.model}, run `{self.run_id}`; {self.measure}, mean [95 % interval].",
            "",
            "| method | IR (first trial) | FR (final) | AR (average) | solved |",
            "| --- | --- | --- | --- | --- |",
        ]
        for report in self.arms:
            scores = report.reward if self.measure == "reward" else report.success
            solved = report.success.best_by_trial[-1]
            cells = [scores.initial, scores.final, scores.average, solved]
            lines.append(f"| {report.arm.name} | {' | '.join(_cell(cell) for cell in cells)} |")
        return "\n".join(lines) + "\n"


def evaluate(
    config: EvaluateConfig, folder: RunFolder, events: EventLog, settings: Settings, should_stop: ShouldStop
) -> EvaluationReport | None:
    """Play what is missing and write the report as JSON, Markdown and HTML; None when stopped before the end."""
    tasks = read_dataset_tasks(folder)
    done = finished_episodes(folder, events)
    logged = _logged_points(folder)
    played: dict[str, list[Episode]] = {}
    with engine_for(config, config.arms, settings) as engine:
        for arm in config.arms:
            for seed in config.seeds:
                reflector = _shuffled(arm, seed, played)
                ahead = play_arm(
                    config, arm, seed, config.trials, tasks, done, events, engine, should_stop, reflector
                )
                for episode in ahead:
                    played.setdefault(arm.name, []).append(episode)
                    solved = sum(any(t.success for t in e.trials) for e in played[arm.name])
                    log.info("%s: %s of %s solved", arm.name, solved, len(played[arm.name]))
                    name, step = f"{arm.name}/solved", len(played[arm.name])
                    if (name, step) not in logged:
                        events.append(MetricsLogged(step=step, values={name: solved / step}))
    if should_stop():
        return None
    report = make_report(config, folder.run_id, played)
    folder.report.write_text(report.model_dump_json(indent=2), encoding="utf-8")
    folder.report.with_suffix(".md").write_text(report.markdown(), encoding="utf-8")
    folder.report.with_suffix(".html").write_text(figure_html(report), encoding="utf-8")
    log.info("\n%s", report.markdown())
    return report


def _shuffled(arm: Arm, seed: int, played: dict[str, list[Episode]]) -> ShuffledPolicy | None:
    """The reflector that gives what another arm wrote with this seed; None for every other reflector."""
    if not arm.reflector.startswith(SHUFFLED):
        return None
    episodes = [e for e in played.get(arm.reflector.removeprefix(SHUFFLED), []) if e.seed == seed]
    return ShuffledPolicy(arm.reflector, episodes, seed)


def _logged_points(folder: RunFolder) -> set[tuple[str, int]]:
    """(name, step) of every metric that an earlier worker of this folder logged."""
    bodies = (event.body for event in all_events(folder.events))
    return {(name, body.step) for body in bodies if isinstance(body, MetricsLogged) for name in body.values}


def make_report(config: EvaluateConfig, run_id: str, played: dict[str, list[Episode]]) -> EvaluationReport:
    """Score every arm, and compare it with the first. Raises BadInput when an arm has no episodes."""
    first = played.get(config.arms[0].name, [])
    arms = []
    for number, arm in enumerate(config.arms):
        episodes = played.get(arm.name, [])
        arms.append(
            ArmReport(
                arm=arm,
                reward=score(episodes, config.trials, "reward"),
                success=score(episodes, config.trials, "success"),
                errors=sum(episode.state == "error" for episode in episodes),
                compared=compare(first, episodes, config.trials, config.measure) if number else None,
            )
        )
    return EvaluationReport(
        run_id=run_id,
        env=config.env,
        model=config.model,
        tasks=len({episode.task.id for episode in first}),
        trials=config.trials,
        seeds=config.seeds,
        measure=config.measure,
        arms=tuple(arms),
        finished_at=datetime.now(UTC),
    )


def read_report(folder: RunFolder) -> dict[str, JsonValue] | None:
    """The report of a finished evaluation; None where there is none."""
    if not folder.report.is_file():
        return None
    report: dict[str, JsonValue] = json.loads(folder.report.read_text(encoding="utf-8"))
    return report


def finished_report(folder: RunFolder) -> EvaluationReport | None:
    """The same, parsed: once, however often it is asked for."""
    try:
        found = folder.report.stat()
    except OSError:
        return None
    return _parsed(folder.report, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1024)
def _parsed(path: Path, changed: int, size: int) -> EvaluationReport:
    return EvaluationReport.model_validate_json(path.read_bytes())


def _cell(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"

"""Episodes as text for people: Markdown, and one JSON line for scripts."""

from __future__ import annotations

from pydantic import JsonValue

from data.episodes import reflection_after, without_tokens
from data.types import Episode, Task, Trial

PUBLIC_METADATA = ("type", "level", "task_type", "hardness", "scene", "database", "tree", "is_gold_empty")
"""What pages may know of a task: nothing that gives the answer away, nothing heavy."""


def public_metadata(task: Task) -> dict[str, JsonValue]:
    return {key: task.metadata[key] for key in PUBLIC_METADATA if key in task.metadata}


def page_episode(episode: Episode) -> dict[str, JsonValue]:
    """An episode as pages load it: no token ids, no gold answer, no world file."""
    task = episode.task.model_copy(update={"metadata": public_metadata(episode.task)})
    return without_tokens(episode).model_copy(update={"task": task}).model_dump(mode="json")


def episode_markdown(episode: Episode) -> str:
    """The whole episode as Markdown; what models wrote stands in code fences, so it stays text."""
    lines = [
        f"# {episode.task.env}: {_one_line(episode.task.instruction)}",
        "",
        f"- episode `{episode.id}`, task `{episode.task.id}`, {episode.state}",
        f"- planner `{episode.planner}`, reflector `{episode.reflector}`, strategy {episode.strategy}, "
        f"temperature {episode.temperature:g}, seed {episode.seed}",
    ]
    for trial in episode.trials:
        lines += _trial_markdown(trial)
        reflection = reflection_after(episode, trial.index)
        if reflection is not None:
            gain = "" if reflection.gain is None else f" (gain {reflection.gain:+.2f})"
            lines += ["", f"### Reflection by {reflection.author}{gain}", "", *_fence(reflection.text)]
    return "\n".join(lines) + "\n"


def episode_line(episode: Episode) -> dict[str, JsonValue]:
    """The one JSON line that `retro-dash play --json` prints for an episode."""
    return {
        "episode_id": episode.id,
        "env": episode.task.env,
        "task_id": episode.task.id,
        "planner": episode.planner,
        "reflector": episode.reflector,
        "success": any(trial.success for trial in episode.trials),
        "trials": [
            {
                "index": trial.index,
                "reward": trial.reward,
                "success": trial.success,
                "stop_reason": trial.stop_reason,
                "turns": len(trial.turns),
            }
            for trial in episode.trials
        ],
        "reflections": [{"text": r.text, "gain": r.gain} for r in episode.reflections],
    }


def _trial_markdown(trial: Trial) -> list[str]:
    outcome = "running" if trial.stop_reason is None else f"{trial.stop_reason}, reward {trial.reward:g}"
    lines = ["", f"## Trial {trial.index} ({outcome})", "", *_fence(trial.opening)]
    for turn in trial.turns:
        lines += ["", f"**{turn.index}.** {_one_line(turn.thought)}".rstrip(), "", *_fence(f"> {turn.action}")]
        lines += _fence(turn.observation)
    if trial.error:
        lines += ["", "Error:", *_fence(trial.error)]
    return lines


def _fence(text: str) -> list[str]:
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return [f"{ticks}text", text, ticks]


def _one_line(text: str) -> str:
    return " ".join(text.split())

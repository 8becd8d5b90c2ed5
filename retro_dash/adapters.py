"""Adapters as people choose them: where each came from, what it scored, whether it can be served; and imports."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

from data.errors import BadFile, BadInput, Refused
from data.events import AdapterPublished, Event, EventBody, RunCreated
from data.store import Store
from data.types import Adapter, DatasetVersion, Noun, Run, RunState
from retro_dash.bundled import adapter_cards
from retro_dash.evaluating import finished_report
from retro_dash.ids import new_id
from retro_dash.jobs import Jobs
from retro_dash.run_list import about
from training.folders import MANIFEST, problem_of, refuse_pickles

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}")


class AdapterScore(Noun):
    """What an arm with this adapter scored in a finished evaluation."""

    run_id: str
    run_name: str
    env: str
    arm: str
    measure: str
    final: float
    difference: float | None
    """Final score minus the first arm's; None when it was the first."""


class AdapterRow(Noun):
    """One line of the list."""

    adapter: Adapter
    run_name: str
    about: str
    """Method and preset of the run."""
    is_bundled: bool
    """It ships with Retro Dash."""
    filter: str | None
    dataset_hash: str | None
    dataset_name: str | None
    """Where the run was given a frozen dataset."""
    problem: str | None
    """Why it cannot be served; None when it can."""
    scores: tuple[AdapterScore, ...]


def known_adapters(store: Store, base: str | None) -> list[Adapter]:
    """Published and imported adapters, newest first, then the bundled ones of the model that the engine serves."""
    return [*store.adapters(), *(card.adapter() for card in adapter_cards(base))]


def adapter_rows(store: Store, jobs: Jobs, base: str) -> list[AdapterRow]:
    """All adapters. `base` is the name of the model that the engine serves."""
    scores = _scores(store, jobs)
    frozen = {version.hash: version for version in store.datasets()}
    known = known_adapters(store, base)
    return [_row(adapter, store, jobs, base, scores.get(adapter.name, ()), frozen) for adapter in known]


def adapter_damage(folder: Path) -> str | None:
    """Why an adapter that a run published is not whole; None when it is, or when it came without a manifest."""
    try:
        files = [(path.name, path.stat()) for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        return f"its folder cannot be read ({error.strerror})"
    return _damage(folder, tuple((name, found.st_size, found.st_mtime_ns) for name, found in sorted(files)))


@lru_cache(maxsize=256)
def _damage(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str | None:
    # Sums over weights take a while: they are made again only when a file has changed.
    return problem_of(folder) if any(name == MANIFEST for name, _, _ in files) else None


def import_adapter(
    store: Store, home: Path, folder: Path, name: str, role: Literal["planner", "reflector", "both"], base: str
) -> Adapter:
    """Copy a PEFT folder into the home and publish it.

    Raises BadInput for a name that is taken or unusable, BadFile for a folder that is no adapter of safetensors,
    Refused for an adapter of another base model.
    """
    if not NAME.fullmatch(name):
        raise BadInput(
            f"The name {name!r} cannot be used: letters, digits, and . _ @ - after the first, at most 100."
        )
    if any(adapter.name == name for adapter in known_adapters(store, base)):
        raise BadInput(f"An adapter is called {name!r} already. Choose a new name.")
    made_for = _check(folder.expanduser())
    if Path(made_for).name != base:
        raise Refused(
            f"The adapter in {folder} was made for {Path(made_for).name!r} and the engine serves {base!r}: "
            "its weights do not fit. Start the dashboard with --model and that base."
        )
    target = home / "adapters" / name
    _copy(folder.expanduser(), target)
    adapter = Adapter(name=name, role=role, base_model=base, path=str(target), created_at=datetime.now(UTC))
    _publish(store, adapter, folder)
    return adapter


def _row(
    adapter: Adapter,
    store: Store,
    jobs: Jobs,
    base: str,
    scores: tuple[AdapterScore, ...],
    frozen: Mapping[str, DatasetVersion],
) -> AdapterRow:
    run = store.run(adapter.run_id) if adapter.run_id else None
    source = jobs.folder(run.id).source() if run is not None else {}
    dataset = frozen.get(str(source.get("dataset")))
    chosen = dataset.filter if dataset else source.get("filter")
    problem = None
    if not (Path(adapter.path) / ("config.json" if adapter.is_full_weights else "adapter_config.json")).is_file():
        problem = f"Its folder {adapter.path} is gone or not whole."
    elif damage := adapter_damage(Path(adapter.path)):
        problem = f"It is damaged: {damage}. Train it again, or bring the file back."
    elif not adapter.is_full_weights and Path(adapter.base_model).name != base:
        problem = f"It was made for {adapter.base_model}; the engine serves {base}."
    return AdapterRow(
        adapter=adapter,
        run_name=(run.name or run.id) if run else "",
        about=about(run) if run else "",
        is_bundled=adapter.path in {str(card.path) for card in adapter_cards(base)},
        filter=chosen if isinstance(chosen, str) and chosen else None,
        dataset_hash=run.dataset_hash if run else None,
        dataset_name=dataset.name if dataset else None,
        problem=problem,
        scores=scores,
    )


def _scores(store: Store, jobs: Jobs) -> dict[str, tuple[AdapterScore, ...]]:
    """By player, the newest evaluation first."""
    found: dict[str, tuple[AdapterScore, ...]] = {}
    for run in store.runs(kinds=("evaluate",), states=(RunState.FINISHED,), limit=200):
        report = finished_report(jobs.folder(run.id))
        if report is None:
            continue
        for arm in report.arms:
            score = AdapterScore(
                run_id=run.id,
                run_name=run.name or run.id,
                env=report.env,
                arm=arm.arm.name,
                measure=report.measure,
                final=(arm.reward if report.measure == "reward" else arm.success).final.mean,
                difference=arm.compared.difference.mean if arm.compared else None,
            )
            for player in {arm.arm.planner, arm.arm.reflector}:
                found[player] = (*found.get(player, ()), score)
    return found


def _check(folder: Path) -> str:
    """The base model that an adapter names. Raises BadFile."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{folder} is no PEFT adapter: adapter_config.json cannot be read ({error}).") from error
    refuse_pickles(folder)
    if not (folder / "adapter_model.safetensors").is_file():
        raise BadFile(f"{folder} holds no adapter_model.safetensors; only safetensors are read.")
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str) or not base:
        raise BadFile(f"{folder}/adapter_config.json does not name its base model (base_model_name_or_path).")
    return base


def _copy(folder: Path, target: Path) -> None:
    temporary = target.parent / f".tmp-{target.name}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.suffix in (".safetensors", ".json", ".jinja"):
                shutil.copyfile(file, temporary / file.name)
        temporary.rename(target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise Refused(f"The adapter cannot be copied to {target}: {error.strerror}.") from error


def _publish(store: Store, adapter: Adapter, source: Path) -> None:
    now = datetime.now(UTC)
    run = Run(
        id=new_id("import"),
        kind="import",
        name=f"adapter from {source}",
        state=RunState.FINISHED,
        created_at=now,
        started_at=now,
        finished_at=now,
    )
    bodies: tuple[EventBody, ...] = (RunCreated(run=run), AdapterPublished(adapter=adapter))
    store.append([Event(run_id=run.id, seq=seq, at=now, body=body) for seq, body in enumerate(bodies)])

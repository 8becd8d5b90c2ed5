"""`retro-dash train CONFIG.toml`: train on stored episodes, or on a file of them; `--check` only looks."""

from __future__ import annotations

import argparse
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from data.errors import BadConfig, BadFile, BadInput, Refused, TrainingError
from data.store import Store
from data.types import Episode
from retro_dash.address import find_hub
from retro_dash.client import HubClient
from retro_dash.commands.curator import open_curator
from retro_dash.commands.episodes import open_reader, stored_episodes
from retro_dash.commands.play import open_storage
from retro_dash.foreground import run_in_foreground
from retro_dash.machine import MachineMeter
from retro_dash.memory import Room
from retro_dash.preflight import LARGEST_CHECK, Check, Chosen, check_training
from retro_dash.run_config import parse_run_config
from retro_dash.settings import Settings
from training.config import parse_config

SIGNS = {"ok": "✓", "note": "!", "stop": "✕"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="TOML: the keys of a training run, [exploration] among them")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--filter", help="train on the stored episodes of this filter")
    which.add_argument("--episodes", type=Path, help="train on a file of episodes, one JSON object a line")
    which.add_argument("--dataset", metavar="HASH", help="train on a frozen dataset, with its labels applied")
    parser.add_argument("--name", default="", help="a name for the run")
    parser.add_argument("--check", action="store_true", help="say what the run would do, and do not start it")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    config = read_train_config(arguments.config, settings)
    lines = list(_episode_lines(arguments, settings))
    if arguments.check:
        return _check(arguments, config, lines, settings)
    if config["memory"] == "pause":
        _refuse_beside_an_engine(settings)
    source: dict[str, JsonValue] = {"filter": arguments.filter} if arguments.filter else {}
    if arguments.dataset is not None:
        with open_curator(settings) as curator:
            source["dataset"] = curator.details(arguments.dataset).version.hash
    if not lines:
        raise BadInput(f"The filter {arguments.filter!r} finds no episodes. Widen it, or collect some first.")
    with open_storage(settings) as append:
        name = arguments.name or arguments.config.stem
        run_in_foreground(settings, "train", name, config, lines, append, arguments.json, source=source)
    return 0


def read_train_config(path: Path, settings: Settings) -> dict[str, JsonValue]:
    """A train run's config from TOML: `model` and `[exploration]` beside the keys of `training.config`."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"The config {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"The config {path} is not TOML: {error}.") from error
    outer: dict[str, object] = {key: given.pop(key) for key in ("model", "exploration", "memory") if key in given}
    train = parse_config(given, str(path))
    whole: dict[str, object] = {"kind": "train", "model": settings.model, **outer, "train": train.model_dump()}
    config: dict[str, JsonValue] = parse_run_config(whole, str(path)).model_dump(mode="json")
    return config


def _episode_lines(arguments: argparse.Namespace, settings: Settings) -> Iterator[str]:
    if arguments.dataset is not None:
        with open_curator(settings) as curator:
            yield from (episode.model_dump_json() for episode in curator.training_episodes(arguments.dataset))
        return
    if arguments.episodes is not None:
        if not arguments.episodes.is_file():
            raise BadFile(f"{arguments.episodes} does not exist.")
        with arguments.episodes.open(encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip())
        return
    yield from stored_episodes(arguments.filter, settings)


def _check(
    arguments: argparse.Namespace, config: dict[str, JsonValue], lines: Sequence[str], settings: Settings
) -> int:
    """Print the check. Raises TrainingError with what would stop the run."""
    which = "episodes" if arguments.episodes else "dataset" if arguments.dataset else "filter"
    flags = f"--{which} {shlex.quote(str(getattr(arguments, which)))}"
    chosen = Chosen(len(lines), [_episode(line, n) for n, line in enumerate(lines[:LARGEST_CHECK], 1)], flags)
    with open_reader(settings) as reader:
        room = _room() if isinstance(reader, Store) else Room.model_validate(reader.machine()["room"])
        check = check_training(reader, settings.home, config, chosen, room)
    print(check.model_dump_json() if arguments.json else _as_text(check))
    if stops := [finding.text for finding in check.findings if finding.level == "stop"]:
        raise TrainingError(f"The run would not work. {' '.join(stops)}")
    return 0


def _episode(line: str, number: int) -> Episode:
    try:
        return Episode.model_validate_json(line)
    except ValidationError as error:
        raise BadFile(f"Line {number} is not an episode: {error.errors()[0]['msg']}.") from error


def _room() -> Room:
    """The device of this machine, where no hub is there to say what it holds."""
    machine = MachineMeter().read()
    total = machine.gpus[0].memory_total if machine.gpus else machine.memory_total
    return Room(device=machine.device, total=total, free=machine.free)


def _as_text(check: Check) -> str:
    forecast = check.forecast
    rows = ", ".join(f"{count} {kind}" for kind, count in forecast.rows.items()) or "none"
    tokens = f"{forecast.tokens:,} tokens, {forecast.trained_tokens:,} of them trained"
    numbers = [
        f"  rows   {rows}",
        f"  data   {tokens}",
        f"  steps  {forecast.steps:,}, {forecast.step_tokens:,} tokens",
    ]
    findings = [f"{SIGNS[finding.level]} {finding.text}" for finding in check.findings]
    return "\n".join([*findings, *numbers])


def _refuse_beside_an_engine(settings: Settings) -> None:
    """Raise Refused when a dashboard of this home has an engine: only its own queue can pause that."""
    address = find_hub(settings.home)
    if address is None:
        return
    with HubClient.at(address) as hub:
        held = int(hub.machine()["room"]["engine"])
    if held:
        raise Refused(
            f'The config says memory = "pause", and the engine of the dashboard at {address.url} holds '
            f"{held / 2**30:.1f} GiB. Start the run on its Train page, whose queue pauses the engine; or stop the "
            'dashboard; or take memory = "pause" out.'
        )

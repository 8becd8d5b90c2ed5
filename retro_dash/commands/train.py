"""`retro-dash train CONFIG.toml`: train on stored episodes, or on a file of them."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from data.errors import BadConfig, BadFile, BadInput
from retro_dash.commands.curator import open_curator
from retro_dash.commands.episodes import stored_episodes
from retro_dash.commands.play import open_storage
from retro_dash.foreground import run_in_foreground
from retro_dash.run_config import parse_run_config
from retro_dash.settings import Settings
from training.config import parse_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="TOML: the keys of a training run, [exploration] among them")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--filter", help="train on the stored episodes of this filter")
    which.add_argument("--episodes", type=Path, help="train on a file of episodes, one JSON object a line")
    which.add_argument("--dataset", metavar="HASH", help="train on a frozen dataset, with its labels applied")
    parser.add_argument("--name", default="", help="a name for the run")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    config = read_train_config(arguments.config, settings)
    lines = list(_episode_lines(arguments, settings))
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

"""`retro-dash episodes`: list stored episodes with the filter language of the page, or show one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager

from data.rows import EpisodePage, EpisodeRow
from data.store import Store
from retro_dash.address import find_hub
from retro_dash.client import HubClient
from retro_dash.present import episode_markdown, page_episode
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="*", help='words such as env:hotpotqa outcome:failed "trials>2"')
    parser.add_argument("--show", metavar="EPISODE", help="print one whole episode (Markdown, or JSON with --json)")
    parser.add_argument("--sort", default="-created", help="column, with - for descending (default -created)")
    parser.add_argument("--limit", type=int, default=50, help="rows at most (default 50)")
    parser.add_argument("--offset", type=int, default=0, help="rows to leave out")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    with open_reader(settings) as reader:
        if arguments.show:
            print(_show(reader, arguments.show, arguments.json))
            return 0
        filter_text = " ".join(arguments.filter)
        page = (
            reader.episode_rows(filter_text, sort=arguments.sort, limit=arguments.limit, offset=arguments.offset)
            if isinstance(reader, Store)
            else reader.episodes(filter_text, arguments.sort, arguments.limit, arguments.offset)
        )
    _print(page, arguments.json)
    return 0


@contextmanager
def open_reader(settings: Settings) -> Iterator[Store | HubClient]:
    """The hub of the home when one runs, else the store itself."""
    address = find_hub(settings.home)
    reader = HubClient.at(address) if address is not None else Store.open(settings.home)
    try:
        yield reader
    finally:
        reader.close()


def stored_episodes(filter_text: str, settings: Settings) -> Iterator[str]:
    """The episodes that a filter finds, whole and with their tokens, as JSON lines. Raises BadInput."""
    with open_reader(settings) as reader:
        if isinstance(reader, Store):
            for episode_id in reader.episode_ids(filter_text):
                yield reader.episode(episode_id, with_tokens=True).model_dump_json()
        else:
            for episode in reader.whole_episodes(filter_text):
                yield episode.model_dump_json()


def _show(reader: Store | HubClient, episode_id: str, as_json: bool) -> str:
    if isinstance(reader, Store):
        episode = reader.episode(episode_id)
        return json.dumps(page_episode(episode)) if as_json else episode_markdown(episode)
    return json.dumps(reader.episode(episode_id)) if as_json else reader.markdown(episode_id)


def _print(page: EpisodePage, as_json: bool) -> None:
    for row in page.rows:
        print(row.model_dump_json() if as_json else _line(row))
    if not as_json:
        print(f"{len(page.rows)} of {page.total} episodes")


def _line(row: EpisodeRow) -> str:
    chips = " ".join(f"{'✓' if trial.success else '✕'}{trial.reward:g}" for trial in row.trials)
    gain = "" if row.best_gain is None else f"  gain {row.best_gain:+.2f}"
    who = f"{row.planner} / {row.reflector}"
    return f"{row.id}  {row.state:8}  {row.env:14}  {chips:16}{gain}  {who}  {row.instruction[:60]}"

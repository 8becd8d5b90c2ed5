"""`retro-dash COMMAND`: parse, load the settings, run one verb. Every error is one sentence and an exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from data.errors import RetroDashError
from retro_dash.settings import Settings, load_settings

COMMANDS = {
    "web": ("retro_dash.commands.web", "start the dashboard"),
    "tui": ("retro_dash.commands.tui", "the dashboard in this terminal"),
    "play": ("retro_dash.commands.play", "play episodes without a page"),
    "episodes": ("retro_dash.commands.episodes", "list or show stored episodes"),
    "envs": ("retro_dash.commands.envs", "check the environments, replay recorded actions"),
    "collect": ("retro_dash.commands.collect", "play many tasks as a run that can be resumed"),
    "train": ("retro_dash.commands.train", "train a planner, a reflector or both from a TOML file"),
    "evaluate": ("retro_dash.commands.evaluate", "compare policies on the same tasks: IR, FR, AR with intervals"),
    "reproduce": ("retro_dash.commands.reproduce", "do an experiment: stages that collect, train and evaluate"),
    "runs": ("retro_dash.commands.runs", "the background runs: list, show, log, stop, resume"),
    "serving": ("retro_dash.commands.serving", "the engine, who has the memory, the adapters: show, load, unload"),
    "mcp": ("retro_dash.commands.mcp", "the dashboard as tools for an agent (MCP)"),
    "query": ("retro_dash.commands.query", "read-only SQL on a copy of the store"),
    "users": ("retro_dash.commands.users", "accounts, roles, tokens, the audit log"),
    "import": ("retro_dash.commands.import_", "say what files of other programs hold, and store it"),
    "export": ("retro_dash.commands.export", "write episodes in the shapes that other programs read"),
    "label": ("retro_dash.commands.label", "say something of an episode; who said what, and how far people agree"),
    "judge": ("retro_dash.commands.judge", "let a language model judge episodes; how far it agrees with people"),
    "dataset": ("retro_dash.commands.dataset", "freeze, list, show and compare datasets"),
    "lint": ("retro_dash.commands.lint", "find what is wrong with training texts"),
    "worker": ("retro_dash.commands.worker", "do, or go on with, the work of one run folder"),
    "doctor": ("retro_dash.commands.doctor", "say what this machine can do, and how to get what is missing"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser(list(sys.argv[1:] if argv is None else argv))
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings({name: getattr(arguments, name, None) for name in Settings.model_fields})
        with _named_home(settings.home):
            return int(import_module(COMMANDS[arguments.command][0]).run(arguments, settings))
    except RetroDashError as error:
        if arguments.json:
            print(json.dumps({"error": type(error).__name__, "detail": str(error)}))
        print(f"retro-dash: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("retro-dash: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141


@contextmanager
def _named_home(home: Path) -> Iterator[None]:
    """Tell environments and the processes that we start where the home is: they keep unpacked dumps there."""
    before = os.environ.get("RETRO_HOME")
    os.environ["RETRO_HOME"] = str(home)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("RETRO_HOME", None)
        else:
            os.environ["RETRO_HOME"] = before


def _parser(argv: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="retro-dash", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in argv if word in COMMANDS), None)
    for name, (module, help_text) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.add_argument("--home", type=Path, help="folder of the store, runs and models (default ./.retro)")
        command.add_argument("--engine", help="embedded, vllm, none, or the URL of an OpenAI-compatible server")
        command.add_argument("--model", help="what the engine serves: a name, a local folder or a hub id")
        command.add_argument("--json", action="store_true", help="print JSON")
        if name == wanted:  # Only the command that runs is imported.
            import_module(module).add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())

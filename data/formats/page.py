"""One episode as one HTML file that needs nothing: no script, no network, no other file. All text is escaped.

At its end it holds the record itself, out of sight, so that it is imported back whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path

from data.errors import BadFile
from data.formats.entry import About, Dropped, Entry, FileFormat, Found, Head
from data.formats.episodes import VERSION, line, read_row
from data.formats.source import WHOLE_JSON, parse_json
from data.types import Label, Reflection, Trial, Turn

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, CanvasText 18%, Canvas); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
body { overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; border-top: 1px solid var(--line); padding-top: 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; font: 13px/1.5 ui-monospace, monospace; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem 1rem; }
dt { opacity: .7; } dd { margin: 0; }
.turn { border-left: 3px solid var(--line); padding-left: .8rem; margin: .8rem 0; }
.observation { opacity: .8; } .action::before { content: "> "; }
.reflection { border: 2px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.label { font-size: .85rem; border: 1px solid var(--line); border-radius: 1rem; padding: 0 .5rem; }
"""


GENERATOR = f'<meta name="generator" content="{VERSION}">'
RECORD = re.compile(r'<pre id="retro-dash" hidden>(.*?)</pre>', re.DOTALL)


def detect(head: Head) -> bool:
    return head.start.startswith("<!doctype html>") and GENERATOR in head.start


def read(path: Path) -> Iterator[Found]:
    """The one episode that the page holds."""
    if path.stat().st_size > WHOLE_JSON:
        raise BadFile(f"{path.name} is over {WHOLE_JSON // 2**20} MiB: no page of one episode.")
    record = RECORD.search(path.read_text(encoding="utf-8", errors="replace"))
    if record is None:
        yield Dropped(1, "the page holds no record: it is cut, or was edited")
        return
    try:
        yield read_row(1, parse_json(unescape(record[1])))
    except ValueError:
        yield Dropped(1, "the record in the page is not JSON: it was edited")


def write(entry: Entry, path: Path, about: About) -> int:
    path.write_text(page(entry, about), encoding="utf-8")
    return 1


def page(entry: Entry, about: About) -> str:
    """The whole file."""
    episode = entry.episode
    title = f"{episode.task.env}: {' '.join(episode.task.instruction.split())[:120]}"
    parts = [_trial(entry, trial) for trial in episode.trials]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
{GENERATOR}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{_text(title)}</h1>
<dl>
{_facts(entry, about)}
</dl>
{_labels(entry, "episode", None, None)}
{"".join(parts)}
<pre id="retro-dash" hidden>{escape(line(entry, about, is_ascii=True))}</pre>
</body>
</html>
"""


def _facts(entry: Entry, about: About) -> str:
    episode = entry.episode
    facts = {
        "episode": episode.id,
        "task": f"{episode.task.id} ({episode.task.split})",
        "planner": episode.planner,
        "reflector": episode.reflector,
        "strategy": f"{episode.strategy.value}, temperature {episode.temperature:g}, seed {episode.seed}",
        "state": episode.state.value,
        "run": episode.run_id,
        "source": episode.source,
        "made": f"{episode.created_at:%Y-%m-%d %H:%M} UTC",
        "annotators": ", ".join(sorted({label.annotator for label in entry.labels})) or "none",
        "tag set": f"version {about.tagset_version}",
        "dataset": about.dataset_hash or "none",
    }
    return "\n".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())


def _trial(entry: Entry, trial: Trial) -> str:
    outcome = "running" if trial.stop_reason is None else f"{trial.stop_reason.value}, reward {trial.reward:g}"
    reflections = [r for r in entry.episode.reflections if r.after_trial == trial.index]
    return f"""<section>
<h2>Trial {trial.index} ({_text(outcome)})</h2>
{_labels(entry, "trial", trial.index, None)}
<details><summary>Prompt</summary><pre>{_text(trial.prompt)}</pre></details>
<pre>{_text(trial.opening)}</pre>
{"".join(_turn(entry, trial.index, turn) for turn in trial.turns)}
{f"<pre>{_text(trial.error)}</pre>" if trial.error else ""}
{"".join(_reflection(entry, reflection) for reflection in reflections)}
</section>
"""


def _turn(entry: Entry, trial: int, turn: Turn) -> str:
    author = "" if turn.author == "planner" else f" <em>by {turn.author}</em>"
    return f"""<div class="turn"><strong>{turn.index}.</strong>{author} {_labels(entry, "turn", trial, turn.index)}
<div>{_text(turn.thought)}</div>
<pre class="action">{_text(turn.action)}</pre>
<pre class="observation">{_text(turn.observation)}</pre></div>
"""


def _reflection(entry: Entry, reflection: Reflection) -> str:
    gain = "" if reflection.gain is None else f", gain {reflection.gain:+.2f}"
    return f"""<div class="reflection"><strong>Reflection by {reflection.author}{gain}</strong>
{_labels(entry, "reflection", reflection.after_trial, None)}
<pre>{_text(reflection.text)}</pre></div>
"""


def _labels(entry: Entry, part: str, trial: int | None, turn: int | None) -> str:
    found = [
        label
        for label in entry.labels
        if (label.target.part, label.target.trial, label.target.turn) == (part, trial, turn)
    ]
    return " ".join(f'<span class="label">{_text(_said(label))}</span>' for label in found)


def _said(label: Label) -> str:
    return f"{label.annotator}: {label.name} {label.value}"


def _text(text: str) -> str:
    """Escaped, and free of the control characters that HTML cannot hold or that turn text around."""
    shown = "".join(
        c if c in "\n\t" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _TURNING) else "�" for c in text
    )
    return escape(shown, quote=True)


_TURNING = "".join(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""Characters that turn the direction of text."""


FORMAT = FileFormat("html", "one episode as an HTML file of ours", detect, read)

"""Words and signs, the same as on the pages. What models wrote becomes plain content here, never markup.

Control bytes, direction overrides and lone surrogates are shown as a mark, so that no text can steer the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.text import Text
from textual.content import Content

SIGNS = {
    "planner": "●",
    "reflector": "◆",
    "environment": "▸",
    "human": "✎",
    "expert": "★",
    "success": "✓",
    "failure": "✕",
}
REASONS = {
    "solved": "solved",
    "failed": "wrong answer",
    "turn_limit": "out of turns",
    "token_limit": "out of tokens",
    "context_limit": "context full",
    "repeated_action": "same action again and again",
    "malformed": "no readable action",
    "stopped": "stopped by a person",
    "model_error": "the model failed",
    "environment_error": "the environment broke",
}
STATES = {
    "solved": ("success", "✓"),
    "failed": ("failure", "✕"),
    "running": ("planner", "●"),
    "stopped": ("human", "■"),
    "error": ("failure", "!"),
}
_HIDDEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

State = Mapping[str, Any]
"""JSON as the hub sends it."""


def clean(text: object) -> str:
    """Text safe for a terminal: what would steer it becomes a replacement mark, a tab becomes spaces."""
    whole = str(text).replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return _HIDDEN.sub("\ufffd", whole)


def one_line(text: object) -> str:
    return " ".join(clean(text).split())


def plain(text: object, style: str = "") -> Content:
    """Any text as content; markup in it stays text."""
    return Content.styled(clean(text), style) if style else Content(clean(text))


def cell(text: object, style: str = "") -> Text:
    """Any text as one line of a table."""
    return Text(one_line(text), style=style, no_wrap=True, overflow="ellipsis", end="")


def sign(who: str) -> Content:
    return Content.styled(SIGNS[who], f"${who}")


def player(name: str, role: str) -> str:
    """Whose colour and sign a policy has: the expert's where it is a script, else its part's."""
    return "expert" if name.split(":")[0] == "expert" else role


def number(value: float | None) -> str:
    """1.0 is "1", 0.3333 is "0.33"."""
    return "–" if value is None else f"{round(value, 2):g}"


def signed(value: float) -> str:
    mark = "+" if value > 0 else "−" if value < 0 else "±"
    return f"{mark}{abs(round(value, 2)):g}"


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def reason(stop: str | None) -> str:
    """Why a trial ended."""
    return REASONS.get(stop or "", one_line(stop or "running").replace("_", " "))


def age(time: datetime | str, now: datetime | None = None) -> str:
    then = datetime.fromisoformat(time) if isinstance(time, str) else time
    seconds = max(0, int(((now or datetime.now(UTC)) - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def duration(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min" if whole < 5400 else f"{whole / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes, in words."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"


def outcome(trial: State) -> tuple[str, str, str]:
    """How a trial stands: whose colour, sign, word."""
    if trial.get("is_hidden"):
        return "dim", "·", "hidden"
    if trial.get("stop_reason") is None:
        return "planner", "●", "running"
    return ("success", "✓", "solved") if trial["success"] else ("failure", "✕", "failed")


def how_played(episode: State) -> str:
    """Temperature, seed and strategy of an episode."""
    strategy = str(episode["strategy"]).replace("_", " ")
    return f"T {number(episode['temperature'])} · seed {episode['seed']} · {strategy}"


def gain(reflection: State) -> Content:
    """The gain of a reflection, or what it is waiting for."""
    value = reflection.get("gain")
    if reflection.get("is_hidden"):
        return Content.styled("gain hidden until judged", "$dim")
    if value is None:
        return Content.styled("gain after the next trial", "$dim")
    who = "success" if value > 0 else "failure" if value < 0 else "dim"
    return Content.styled(f"gain {signed(value)}", f"bold ${who}")


def strip(episode: State) -> Content:
    """The trials of an episode in one line, with what each reflection gained between them."""
    parts: list[Content] = []
    gains = {one["after_trial"]: one for one in episode["reflections"]}
    for trial in episode["trials"]:
        before = gains.get(trial["index"] - 1)
        if before is not None:
            value = before.get("gain")
            parts.append(Content.styled(f" ◆{'' if value is None else ' ' + signed(value)} ", "$reflector"))
        elif parts:
            parts.append(Content(" › "))
        who, mark, _ = outcome(trial)
        score = "" if trial.get("stop_reason") is None or trial.get("is_hidden") else f" {number(trial['reward'])}"
        parts.append(Content.styled(f"{trial['index']} {mark}{score}", f"${who}"))
    return Content("").join(parts)

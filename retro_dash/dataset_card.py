"""The card of a dataset: what it is, where it came from, who labelled it, what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from data.lint import LintReport
from data.types import DatasetVersion


def write_card(
    version: DatasetVersion, evaluators: Sequence[str], share: float, seed: int, tagset: int, report: LintReport
) -> str:
    """Markdown with the front matter of a Hugging Face dataset card. Names are quoted: they may hold anything."""
    counts = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in version.counts.items())
    findings = "\n".join(f"| {f.severity} | {f.kind} | {f.count} | {f.meaning} |" for f in report.findings)
    return f"""---
pretty_name: {json.dumps(version.name)}
tags: [retro-dash, agent-trajectories]
configs:
- config_name: default
  data_files: episodes.jsonl
---

# {_plain(version.name)}

Episodes of retrospective language agents: trials, turns, reflections, and what people said of them. Frozen by Retro
Dash; the hash is that of the content.

- dataset hash: `{version.hash}`
- frozen: {version.created_at:%Y-%m-%d %H:%M} UTC
- filter: `{_plain(version.filter) or "(everything)"}`
- evaluators: {", ".join(f"`{_plain(spec)}`" for spec in evaluators) or "none"}
- split: {share:.0%} of the tasks kept for evaluation, seed {seed}
- tag set version: {tagset}

| count | |
| --- | --- |
{counts}

## Lint

{report.texts} texts ({report.planner} planner, {report.reflector} reflector); {report.trained} {report.unit} trained,
{report.prompt + report.masked} {report.unit} shown and masked.

| severity | kind | texts | meaning |
| --- | --- | --- | --- |
{findings or "| | nothing found | 0 | |"}
"""


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "'").split())

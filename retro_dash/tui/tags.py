"""The tag set as text to edit: a line for each tag, `key | name | meaning`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from data.errors import BadInput
from retro_dash.tui.text import one_line


def tag_lines(tags: Iterable[Mapping[str, str]]) -> str:
    return "\n".join(f"{tag['key'] or ' '} | {tag['name']} | {one_line(tag['meaning'])}".rstrip(" |") for tag in tags)


def parse_tags(text: str) -> list[dict[str, str]]:
    """The tags of these lines; a key may be missing, a meaning too. Raises BadInput for a line that does not read."""
    tags = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        key, *rest = (part.strip() for part in line.split("|", 2))
        if not rest or not rest[0] or len(key) > 1:
            raise BadInput(
                f"Line {number} is not 'key | name | meaning', with a key of one letter or none: {line[:60]}"
            )
        tags.append({"key": key, "name": rest[0], "meaning": rest[1] if len(rest) > 1 else ""})
    return tags

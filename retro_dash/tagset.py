"""The tags that people may give: an edited, versioned set in `HOME/curation/tagset.json`; every version is kept."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from data.errors import BadFile, BadInput, Refused


class Tag(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=40, pattern=r"^[\w][\w .:/-]*$")
    meaning: str = Field(default="", max_length=400)
    key: str = Field(default="", max_length=1)
    """The key that gives it; empty for the page's choice."""


class TagSet(BaseModel):
    """One version of the set. Version 0 is the one that comes with the program."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=0)
    tags: tuple[Tag, ...] = Field(max_length=200)

    @field_validator("tags")
    @classmethod
    def _names_differ(cls, tags: tuple[Tag, ...]) -> tuple[Tag, ...]:
        if len({tag.name.lower() for tag in tags}) != len(tags):
            raise ValueError("two tags have the same name")
        return tags

    @property
    def names(self) -> frozenset[str]:
        return frozenset(tag.name for tag in self.tags)


FIRST = TagSet(
    version=0,
    tags=(
        Tag(name="loop", meaning="the same actions again and again"),
        Tag(name="wrong object", meaning="acts on something that the task does not ask for"),
        Tag(name="bad format", meaning="a reply that holds no action"),
        Tag(name="invented fact", meaning="states what no observation says"),
        Tag(name="ignored reflection", meaning="repeats the mistake that the reflection names"),
        Tag(name="gave up early", meaning="ends the trial although the task could still be solved"),
        Tag(name="lucky", meaning="solved, but not for a good reason"),
    ),
)


class TagSets:
    """The tag sets of one home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._current: TagSet | None = None

    def current(self) -> TagSet:
        """The newest version. Raises BadFile when its file was damaged."""
        if self._current is None:
            path = self._folder / "tagset.json"
            try:
                self._current = TagSet.model_validate_json(path.read_bytes()) if path.exists() else FIRST
            except ValidationError as error:
                raise BadFile(
                    f"{path} is not a tag set: {error.errors()[0]['msg']}. Restore a tagset-N.json."
                ) from error
        return self._current

    def versions(self) -> list[TagSet]:
        """Every version, newest first. A file that was damaged is left out."""
        found = {FIRST.version: FIRST, self.current().version: self.current()}
        for path in self._folder.glob("tagset-*.json"):
            try:
                kept = TagSet.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue
            found.setdefault(kept.version, kept)
        return [found[version] for version in sorted(found, reverse=True)]

    def replace(self, wanted: TagSet) -> TagSet:
        """Make `wanted.tags` the next version; `wanted.version` is the one that was edited.

        Raises Refused when somebody else changed the set in the meantime. Labels keep tags that are no longer in it.
        """
        with self._lock:
            current = self.current()
            if wanted.version != current.version:
                raise Refused(
                    f"The tag set was changed in the meantime (version {current.version}, you edited "
                    f"{wanted.version}): {', '.join(sorted(current.names))}. Load it again, then change it."
                )
            if not wanted.tags:
                raise BadInput("A tag set needs at least one tag.")
            following = TagSet(version=current.version + 1, tags=wanted.tags)
            self._write(following)
            self._current = following
            return following

    def _write(self, tags: TagSet) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        text = tags.model_dump_json(indent=1)
        (self._folder / f"tagset-{tags.version}.json").write_text(text, encoding="utf-8")
        part = self._folder / "tagset.json.part"
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / "tagset.json")

"""What the keys of Curate say, and of which part (the page: `web/static/labelacts.js`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import JsonValue
from textual import on, work

from data.errors import RetroDashError
from retro_dash.tui.curatekeys import tag_keys
from retro_dash.tui.editor import Editor
from retro_dash.tui.parts import WHOLE, Part, beside, parts_of, written
from retro_dash.tui.reading import Reading
from retro_dash.tui.statements import Statements, new_id
from retro_dash.tui.tags import parse_tags, tag_lines


class Labelling(Reading):
    """A place with one part of an episode in focus; a subclass loads episodes, draws them, and moves the focus."""

    said: Statements

    def __init__(self) -> None:
        super().__init__()
        self.episode: dict[str, Any] | None = None
        self.part = WHOLE
        self.tags: dict[str, str] = {}
        """By key."""
        self.is_auto = True

    def action_next(self) -> None:
        raise NotImplementedError

    def go_to(self, part: Part) -> None:
        raise NotImplementedError

    def visit(self, episode_id: str, part: Part = WHOLE) -> None:
        raise NotImplementedError

    def parts(self) -> list[Part]:
        return parts_of(self.episode) if self.episode else [WHOLE]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return parameters[0] in self.tags if action == "tag" else True

    def action_verdict(self, verdict: str) -> None:
        is_new = self.episode is not None and self.said.toggle(self.part, "verdict", verdict)
        if is_new and self.part == WHOLE and self.is_auto:
            self.action_next()

    def action_reward(self, reward: int) -> None:
        if self.part.part != "turn":
            self.dash.say("Step rewards belong to turns: j moves to the next one.")
        elif self.said.toggle(self.part, "step_reward", reward) and self.is_auto:
            following = beside(self.parts(), self.part, 1)
            if following.part == "turn" and following.trial == self.part.trial:
                self.go_to(following)

    def action_first_error(self) -> None:
        part, trial, turn = self.part
        if part in ("turn", "trial"):
            self.said.toggle(Part("trial", trial), "first_error", turn or 0)
        else:
            self.dash.say("The first error belongs to a turn of a trial.")

    def action_quality(self, quality: str) -> None:
        """Unmarked, true, false, unmarked again."""
        if self.part.part != "reflection":
            self.dash.say("This belongs to reflections: r moves to the next one.")
            return
        given = self.said.ledger().value(self.part, "quality")
        judged = dict(given) if isinstance(given, dict) else {}
        was = judged.pop(quality, None)
        if was is not False:
            judged[quality] = was is None
        self.said.put(self.part, "quality", judged)

    def action_tag(self, letter: str) -> None:
        given, name = self.said.ledger().value(self.part, "tags"), self.tags[letter]
        old = given if isinstance(given, list) else []
        if self.episode is not None:
            self.said.put(self.part, "tags", [one for one in old if one != name] if name in old else [*old, name])

    async def action_note(self) -> None:
        if self.episode is not None:
            await self._edit("note", "Note", {"note": str(self.said.ledger().value(self.part, "note") or "")})

    async def action_rewrite(self) -> None:
        original = written(self.episode, self.part)
        if original:
            await self._edit("rewrite", "Rewrite", {**original, **self._rewritten()})
        else:
            self.dash.say("A turn or a reflection can be rewritten: j and r move to them.")

    async def _edit(self, name: str, word: str, fields: dict[str, str]) -> None:
        title = f"✎ {word}: {self.part.name}. Ctrl+S keeps it, Esc leaves it as it was."
        await self.query_one(Editor).edit(f"{name} {self.part.key}", title, fields)

    def _rewritten(self) -> dict[str, str]:
        given = self.said.ledger().value(self.part, "rewrite")
        return {name: str(text) for name, text in given.items()} if isinstance(given, dict) else {}

    @on(Editor.Sent)
    def edited(self, event: Editor.Sent) -> None:
        self.rest()
        if event.purpose.startswith("tags "):
            self._save_tags(int(event.purpose.split()[1]), event.whole["tags"])
            return
        if event.purpose != f"{event.purpose.split()[0]} {self.part.key}":
            return  # The item was changed while somebody wrote, by an undo elsewhere.
        if event.purpose.startswith("note"):
            note = event.texts["note"]
            if note is not None:
                self.said.put(self.part, "note", note if note.strip() else "")
            return
        original, old = written(self.episode, self.part), self._rewritten()
        now = {name: {**original, **old}[name] if text is None else text for name, text in event.texts.items()}
        value: JsonValue = {name: text for name, text in now.items() if text != original[name]}
        if value != old:
            self.said.put(self.part, "rewrite", value)

    # Undo

    def action_undo(self) -> None:
        self._step("undo")

    def action_redo(self) -> None:
        self._step("redo")

    @work(exclusive=True, group="step")
    async def _step(self, verb: Literal["undo", "redo"]) -> None:
        """A step of this session, else an older one that the hub knows; what it was about is shown."""
        request, annotator = self.said.step(verb), self.said.annotator
        if request is None:
            await self.said.outbox.empty()
            try:
                label = await self.dash.ask(lambda hub: hub.step_label(verb, annotator, new_id()))
            except RetroDashError as error:
                self.tell(error)
                return
            target, name = label.target.model_dump(), label.name
        else:
            target, name = dict(request["target"]), str(request["name"])  # type: ignore[arg-type]
        episode_id, part = str(target.pop("episode_id")), Part(**target)
        self.dash.say(
            f"{'Undone' if verb == 'undo' else 'Done again'}: {name.replace('_', ' ')}, {part.name.lower()}"
        )
        if episode_id == self.said.episode_id and request is not None:
            self.go_to(part)
        else:
            self.visit(episode_id, part)

    # Who labels, and with which tags

    @work(exclusive=True, group="who")
    async def learn_who_and_tags(self) -> None:
        try:
            me, tagset = await self.dash.ask(lambda hub: (hub.me(), hub.tagset()))
        except RetroDashError as error:
            self.log.warning(str(error))
            return
        self.tags = tag_keys(tagset["tags"])
        if not me["is_owner"]:
            self.said.annotator = str(me["name"])
        self.show()

    @work(exclusive=True, group="tags")
    async def action_tags(self) -> None:
        with self.telling():
            tagset = await self.dash.ask(lambda hub: hub.tagset())
            await self._edit_tags(int(tagset["version"]), tag_lines(tagset["tags"]))

    async def _edit_tags(self, version: int, text: str) -> None:
        title = f"✎ Tags: key | name | meaning. Ctrl+S saves version {version + 1}, Esc leaves them."
        await self.query_one(Editor).edit(f"tags {version}", title, {"tags": text})

    @work(exclusive=True, group="tags")
    async def _save_tags(self, version: int, text: str) -> None:
        try:
            tags = parse_tags(text)
            saved = await self.dash.ask(lambda hub: hub.replace_tagset(version, tags))
        except RetroDashError as error:
            await self._edit_tags(version, text)
            self.tell(error)
            return
        self.tell("")
        self.dash.say(f"✓ Tag set saved as version {saved['version']}. Labels keep tags that are no longer in it.")
        self.learn_who_and_tags()

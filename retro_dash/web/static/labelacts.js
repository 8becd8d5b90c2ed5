// What each key of labelling says, and of what.

import { QUALITIES, VERDICTS } from "./marks.js";

/**
 * The acts of the label bar by their ids. `target()`: the part that has the focus; `value(name, place)`: what stands;
 * `say`, `takeBack`, `toggle`: make and take back statements; `tell(text)`: why nothing was said.
 */
export function labelActs({ target, value, say, takeBack, toggle, tell, keyOf, isAuto, next, nextTurn, undo, redo, note, refocus, edit }) {
  const acts = { undo, redo, next, note, refocus };

  for (const [verdict] of VERDICTS) acts[verdict] = () => {
    if (toggle("verdict", verdict) && target().part === "episode" && isAuto()) next();
  };

  for (const reward of [1, 0, -1]) acts[`step${reward}`] = () => {
    if (target().part !== "turn") return tell(`Step rewards belong to turns: ${keyOf("down")} moves to the next one.`);
    if (toggle("step_reward", reward) && isAuto()) nextTurn();
  };

  // Unmarked, true, false, unmarked again.
  for (const quality of QUALITIES) acts[quality] = () => {
    if (target().part !== "reflection") return tell(`This belongs to reflections: ${keyOf("reflection")} moves to the next one.`);
    const { [quality]: was, ...others } = value("quality") ?? {};
    const now = was === undefined ? { ...others, [quality]: true } : was ? { ...others, [quality]: false } : others;
    if (Object.keys(now).length) say("quality", now);
    else takeBack("quality");
  };

  acts.error = () => {
    const { part, trial, turn } = target();
    if (part !== "turn" && part !== "trial") return tell("The first error belongs to a turn of a trial.");
    toggle("first_error", part === "turn" ? turn : 0, { part: "trial", trial, turn: null });
  };

  acts.tag = (name) => {
    const old = value("tags") ?? [];
    const now = old.includes(name) ? old.filter((one) => one !== name) : [...old, name];
    if (now.length) say("tags", now);
    else takeBack("tags");
  };

  acts.saveNote = (place, text) => (text.trim() ? say("note", text, place) : takeBack("note", place));

  acts.rewrite = () => {
    const place = { ...target() };
    if (place.part !== "turn" && place.part !== "reflection") return tell("A turn or a reflection can be rewritten.");
    edit(place, value("rewrite", place), (now) => {
      if (JSON.stringify(now) === JSON.stringify(value("rewrite", place))) return;
      if (now) say("rewrite", now, place);
      else takeBack("rewrite", place);
    });
  };
  return acts;
}

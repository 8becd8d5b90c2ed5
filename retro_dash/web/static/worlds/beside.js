// The world of a stored episode, as the environment showed it after one of its turns.

import { button, h, setText } from "../dom.js";
import { drawWorld, panelOf } from "./index.js";

const HAS_ROOM = { single: "(min-width: 1181px)", several: "(min-width: 1500px)" };

/** A panel beside the trials. `onStep(by)`: to another turn. Returns {element, show(where, view)}. */
export function worldBeside(env, { isSingle, onStep }) {
  const where = h("span", { class: "dim small" });
  const missing = h("p", { class: "dim", hidden: true }, "The environment showed nothing beside this turn.");
  const place = h("div", { class: "world-view" });
  const element = h("details", { class: "panel beside", open: matchMedia(isSingle ? HAS_ROOM.single : HAS_ROOM.several).matches },
    h("summary", {}, h("h2", {}, "World"), " ", where),
    h("div", { class: "tools row" }, button("‹ Turn", () => onStep(-1), { title: "The turn before (h)" }), button("Turn ›", () => onStep(1), { title: "The next turn (l)" })),
    missing, place);
  const panel = panelOf(env);

  async function show(words, view) {
    setText(where, words);
    missing.hidden = Boolean(view);
    place.hidden = !view;
    if (view) drawWorld(await panel, place, view, { act: null, note: "" });
  }
  return { element, show };
}

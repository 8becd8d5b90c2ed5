// The bar at the bottom: what has the focus, everything that can be said of it with the key printed on it, and whether
// the hub has it.

import { button, fill, h, setEnabled, setText } from "./dom.js";
import { nameOf } from "./parts.js";
import { QUALITIES, REWARDS, VERDICTS } from "./marks.js";

/** `acts`: what the buttons do; `keysOf(id)`. Returns {element, show(target, ledger, tags), state(…), say(…), note()}. */
export function labelBar(acts, keysOf) {
  const toggles = [];
  const keyed = [];

  function press(id, label, props = {}) {
    const key = h("kbd", {});
    keyed.push([id, key]);
    const { isOn, ...rest } = props;
    const element = button([key, h("span", {}, label)], () => acts[id](), { class: "key", ...rest, ...(isOn ? { "aria-pressed": "false" } : {}) });
    if (isOn) toggles.push([element, isOn]);
    return element;
  }

  const where = h("strong", { class: "where" });
  const said = h("span", { class: "bar-said small", role: "status" });
  const saved = h("span", { class: "save-state small", role: "status" });
  const note = h("input", { class: "note-input", placeholder: "Note on this part", "aria-label": "Note", autocomplete: "off", maxlength: 100000 });
  const verdicts = h("div", { class: "group", role: "group", "aria-label": "Verdict" }, VERDICTS.map(([verdict, mark, who]) => press(verdict, [h("span", { class: `sign ${who}`, "aria-hidden": "true" }, mark), verdict], { class: `key ${who}`, isOn: (value) => value("verdict") === verdict })));
  const special = {
    episode: h("div", { class: "group hint dim small" }, "The verdict on the whole episode ends it."),
    trial: h("div", { class: "group", role: "group", "aria-label": "First error" }, press("error", "no error in this trial", { class: "key success", isOn: (value) => value("first_error") === 0 })),
    turn: h("div", { class: "group", role: "group", "aria-label": "Step reward" }, REWARDS.map(([reward, text]) => press(`step${reward}`, h("span", {}, reward > 0 ? "good step" : reward < 0 ? "bad step" : "neutral"), { class: `key ${reward > 0 ? "success" : reward < 0 ? "failure" : "environment"}`, title: `Step reward ${text}`, isOn: (value) => value("step_reward") === reward })),
      press("error", "first error", { class: "key failure", isOn: (value, target, ledger) => ledger.value({ part: "trial", trial: target.trial, turn: null }, "first_error") === target.turn })),
    reflection: h("div", { class: "group", role: "group", "aria-label": "Quality of the reflection" }, QUALITIES.map((quality) => press(quality, quality, { isOn: (value) => ({ true: true, false: "no" })[(value("quality") ?? {})[quality]] ?? false }))),
  };
  const tags = h("div", { class: "group tags", role: "group", "aria-label": "Tags" });
  const redo = press("redo", "redo");
  const rewrite = press("rewrite", "rewrite");
  const element = h("section", { class: "label-bar", "aria-label": "Labels" },
    h("div", { class: "bar-line" }, where, said, h("label", { class: "note-box" }, press("note", "note", { tabIndex: -1 }), note), saved),
    h("div", { class: "bar-line bar-keys" }, verdicts, h("div", { class: "special" }, Object.values(special)), h("div", { class: "group bar-end" }, rewrite, press("undo", "undo"), redo, press("next", "next", { class: "key primary" }))),
    tags);

  let noteTarget = null;
  note.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      note.blur();
      acts.refocus();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      event.preventDefault();
      note.value = note.dataset.old ?? "";
      note.blur();
      acts.refocus();
    }
  });
  note.addEventListener("blur", () => noteTarget && note.value !== note.dataset.old && acts.saveNote(noteTarget, note.value));

  function show(target, ledger, count) {
    setText(where, nameOf(target));
    const value = (name) => ledger.value(target, name);
    for (const [element_, isOn] of toggles) {
      const on = isOn(value, target, ledger);
      element_.setAttribute("aria-pressed", String(on === true));
      element_.classList.toggle("denied", on === "no");
    }
    for (const [part, group] of Object.entries(special)) group.classList.toggle("away", part !== target.part);
    for (const group of Object.values(special)) group.toggleAttribute("inert", group.classList.contains("away"));
    const mine = value("tags") ?? [];
    for (const chip of tags.children) chip.setAttribute("aria-pressed", String(mine.includes(chip.dataset.tag)));
    setEnabled(rewrite, target.part === "turn" || target.part === "reflection");
    // The hub knows older steps than this browser, so undo is always worth a try.
    setEnabled(redo, count.redoable > 0);
    if (document.activeElement !== note) {
      noteTarget = target;
      note.value = note.dataset.old = value("note") ?? "";
    }
  }

  function showKeys() {
    for (const [id, key] of keyed) setText(key, shortKey(keysOf(id)));
  }

  /** `list`: tags with their keys. */
  function showTags(list, onTag) {
    fill(tags, list.map((tag) => h("button", { type: "button", class: "button key tag", "data-tag": tag.name, title: tag.meaning || null, "aria-pressed": "false", on: { click: () => onTag(tag.name) } }, tag.key ? h("kbd", {}, tag.key) : null, h("span", {}, tag.name))));
  }

  function state({ unsaved, line, detail, isKept }) {
    saved.className = `save-state small ${unsaved ? (line === "live" ? "pending" : "lost") : "saved"}`;
    saved.title = detail;
    if (!unsaved) return setText(saved, "✓ all saved");
    const kept = isKept ? "kept in this browser" : "NOT kept: stay here";
    if (line === "signed-out") return void fill(saved, `✕ ${unsaved} unsaved: `, h("a", { href: "/", target: "_blank", title: "With the address that `retro-dash web` printed" }, "sign in again"));
    if (line === "denied") return setText(saved, `✕ ${unsaved} unsaved: not allowed`);
    setText(saved, line === "lost" ? `✕ ${unsaved} unsaved, ${kept}` : `… saving ${unsaved}`);
  }

  showKeys();
  return { element, show, showKeys, showTags, state, say: (text, who = "") => { said.className = `bar-said small ${who}`; setText(said, text); }, note: () => note.focus() };
}

const shortKey = (keys) => keys.split(" ")[0].replace("Enter", "↵").replace("Shift+", "⇧");

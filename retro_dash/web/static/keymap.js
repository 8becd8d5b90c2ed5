// The keys of labelling: usual ones, those that a person chose instead (kept in the browser), and a letter for each tag.

import { button, fill, h, setText, store } from "./dom.js";
import { bind, known, pressed } from "./keys.js";

/** `actions`: [{id, label, keys, group, run, when}]. Returns {keysOf(id), tagKeys(tags, run), panel()}. */
export function openKeymap(actions, onChange) {
  let chosen = store("keys") ?? {};
  const bound = new Map();
  const tagBindings = [];
  for (const action of actions) {
    bind(chosen[action.id] ?? action.keys, action.label, action.run, action.when);
    bound.set(action.id, known().at(-1));
  }
  const keysOf = (id) => bound.get(id).keys;
  const taken = (but) => new Set(known().filter((one) => one !== but).flatMap((one) => one.keys.split(" ")));

  /** Give every tag a key: its own, one that a person chose, or the first free letter of its name. */
  function tagKeys(tags, run) {
    tagBindings.forEach((one) => known().splice(known().indexOf(one), 1));
    tagBindings.length = 0;
    const used = taken(null);
    return tags.map((tag) => {
      const wanted = [chosen[`tag ${tag.name}`], tag.key, ...tag.name.toLowerCase().replace(/[^a-z]/g, ""), ..."abcdefghijklmnopqrstuvwxyz"];
      const key = wanted.find((one) => one && !used.has(one)) ?? "";
      used.add(key);
      if (key) {
        bind(key, `Tag: ${tag.name}`, () => run(tag.name));
        const binding = known().at(-1);
        binding.tag = tag.name;
        tagBindings.push(binding);
      }
      return { ...tag, key };
    });
  }

  function choose(id, binding, key) {
    chosen = { ...chosen, [id]: key };
    store("keys", chosen);
    binding.keys = key;
    onChange();
  }

  /** The list of all keys, each a button that waits for the new one. */
  function panel() {
    const note = h("p", { class: "dim small", role: "status" }, "Choose a key to change it, then press the new one. Esc leaves it.");
    const list = h("dl", { class: "key-list" });
    const draw = () => fill(list, [...actions.map((action) => [action.id, bound.get(action.id)]), ...tagBindings.map((one) => [`tag ${one.tag}`, one])].map(([id, binding]) => {
      const change = button(h("kbd", {}, binding.keys || "none"), () => {
        setText(note, `Press the new key for “${binding.label}”.`);
        change.setAttribute("aria-pressed", "true");
      }, { class: "quiet key-button", "aria-label": `${binding.label}: ${binding.keys}`, "aria-pressed": "false" });
      change.addEventListener("keydown", (event) => {
        if (change.getAttribute("aria-pressed") !== "true" || ["Shift", "Control", "Alt", "Meta", "Tab"].includes(event.key)) return;
        event.preventDefault();
        event.stopPropagation();
        const key = pressed(event);
        const other = known().find((one) => one !== binding && one.keys.split(" ").includes(key));
        if (key === "Escape") setText(note, "Left as it was.");
        else if (other) return setText(note, `${key} is already “${other.label}”. Press another.`);
        else {
          choose(id, binding, key);
          setText(note, `${binding.label}: ${key}`);
        }
        draw();
        list.querySelector(`[data-id="${CSS.escape(id)}"] button`)?.focus();
      });
      return h("div", { "data-id": id }, h("dt", {}, binding.label), h("dd", {}, change));
    }));
    draw();
    const reset = button("All as they were", () => {
      chosen = {};
      store("keys", chosen);
      actions.forEach((action) => (bound.get(action.id).keys = action.keys));
      onChange();
      draw();
    });
    return h("div", { class: "key-panel" }, note, list, reset);
  }

  return { keysOf, tagKeys, panel };
}

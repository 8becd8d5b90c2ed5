// A rewrite of a thought, an action or a reflection: as it stands, and the form that makes one.

import { button, h, setText, sign } from "./dom.js";

/** `value`: {thought, action} or {text}, only what was rewritten. */
export function rewriteElement({ thought, action, text }, isSaved) {
  return h("div", { class: "rewrite" },
    h("p", { class: "small rewrite-head" }, sign("human"), "rewritten", h("i", { class: "saved-sign", role: "img", "aria-label": isSaved ? "saved" : "not saved yet" }, isSaved ? "✓" : "…")),
    thought !== undefined ? h("div", { class: "thought" }, thought) : null,
    action !== undefined ? h("div", { class: "action" }, h("code", {}, action)) : null,
    text !== undefined ? h("blockquote", {}, text) : null);
}

/** A field for each text of `original`. `onSave(value|null)`: what differs from it; null when nothing does. */
export function rewriteForm({ name, original, standing, onSave, onCancel }) {
  const areas = Object.entries(original).map(([field, text]) => [field, h("textarea", { rows: field === "action" ? 1 : 3, class: field === "action" ? "mono" : "", "aria-label": `Rewritten ${field}`, value: standing?.[field] ?? text })]);
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const save = () => {
    const value = Object.fromEntries(areas.map(([field, area]) => [field, area.value]).filter(([field, text]) => text !== original[field]));
    if (["action", "text"].some((field) => field in value && !value[field].trim())) {
      problem.hidden = false;
      return setText(problem, "A rewrite cannot be empty. To leave it out, give the verdict discard.");
    }
    onSave(Object.keys(value).length ? value : null);
  };
  const form = h("form", { class: "rewrite-form", "aria-label": `Rewrite ${name.toLowerCase()}`, on: { submit: (event) => event.preventDefault() } }, areas.map(([, area]) => area), problem,
    h("div", { class: "tools row" }, button([h("span", {}, "Save"), h("kbd", {}, "Ctrl+Enter")], save, { class: "primary" }), button([h("span", {}, "Cancel"), h("kbd", {}, "Esc")], onCancel)));
  form.addEventListener("keydown", (event) => {
    const act = event.key === "Enter" && (event.ctrlKey || event.metaKey) ? save : event.key === "Escape" ? onCancel : null;
    if (!act) return;
    event.preventDefault();
    act();
  });
  return form;
}

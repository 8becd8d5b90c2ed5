// The tag set: names, meanings and keys, saved as a new version. Labels keep tags that are no longer in it.

import { get, put } from "./api.js";
import { button, fill, h, setEnabled, setText } from "./dom.js";

/** `onSaved(tagSet)` when there is a new version. */
export function tagsPanel({ onSaved, say }) {
  let current = { version: 0, tags: [] };
  let versions = [];
  const rows = h("ul", { class: "tag-rows" });
  const from = h("select", { id: "rd-tag-version", "aria-label": "Start from version" });
  const changes = h("p", { class: "small dim", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const save = button("Save", keep, { class: "primary" });
  from.addEventListener("change", () => draw(versions.find((one) => one.version === Number(from.value)).tags));

  async function load() {
    try {
      versions = await get("/tagset/versions");
      current = versions[0];
      fill(from, versions.map((one, place) => h("option", { value: one.version }, `version ${one.version}${place ? "" : " (now)"}: ${one.tags.length} tags`)));
      draw(current.tags);
      setEnabled(add, true);
      problem.hidden = true;
    } catch (error) {
      fail(error);
    }
  }

  function draw(tags) {
    fill(rows, tags.map(rowElement));
    look();
  }

  function rowElement(tag) {
    const input = (field, props) => {
      const element = h("input", { value: tag[field] ?? "", "data-field": field, autocomplete: "off", ...props });
      element.addEventListener("input", look);
      return element;
    };
    const row = h("li", {}, input("key", { "aria-label": "Key", maxlength: 1, placeholder: "key", class: "mono tag-key" }), input("name", { "aria-label": "Name", maxlength: 40, placeholder: "name" }),
      button("✕", () => {
        const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("[data-field=name]");
        row.remove();
        look();
        (next ?? add).focus();
      }, { class: "quiet icon", "aria-label": `Remove ${tag.name || "this tag"}`, title: "Remove" }),
      input("meaning", { "aria-label": "Meaning", maxlength: 400, placeholder: "what it means, so that two people mean the same", class: "small" }));
    return row;
  }

  const add = button("Add a tag", () => {
    rows.append(rowElement({}));
    look();
    rows.lastElementChild.querySelector("[data-field=name]").focus();
  });
  // What was typed before the set is here would be lost.
  setEnabled(add, false);

  const given = () => [...rows.children].map((row) => Object.fromEntries([...row.querySelectorAll("input")].map((input) => [input.dataset.field, input.value.trim()])));

  /** Say what saving would change. */
  function look() {
    const now = given();
    const before = new Map(current.tags.map((tag) => [tag.name, tag]));
    const names = new Set(now.map((tag) => tag.name));
    const parts = [
      ["adds", now.filter((tag) => !before.has(tag.name)).map((tag) => tag.name || "a tag without a name")],
      ["removes", current.tags.filter((tag) => !names.has(tag.name)).map((tag) => tag.name)],
      ["changes", now.filter((tag) => before.has(tag.name) && ["meaning", "key"].some((field) => (before.get(tag.name)[field] ?? "") !== tag[field])).map((tag) => tag.name)],
    ].filter(([, list]) => list.length);
    const isMoved = !parts.length && now.map((tag) => tag.name).join("\n") !== current.tags.map((tag) => tag.name).join("\n");
    setText(changes, parts.length ? `Version ${current.version + 1} ${parts.map(([verb, list]) => `${verb} ${list.join(", ")}`).join("; ")}.` : isMoved ? `Version ${current.version + 1} has another order.` : `Version ${current.version}, unchanged.`);
    setEnabled(save, parts.length > 0 || isMoved);
  }

  async function keep() {
    setEnabled(save, false);
    try {
      const saved = await put("/tagset", { version: current.version, tags: given() });
      say(`Tag set saved as version ${saved.version}`);
      onSaved(saved);
      await load();
    } catch (error) {
      fail(error);
      setEnabled(save, true);
    }
  }

  function fail(error) {
    problem.hidden = false;
    setText(problem, error.message);
  }

  load();
  return h("div", { class: "tags-panel" }, h("p", { class: "small" }, "What can be said of any part, with one key each. Every saved version is kept; labels keep tags that are no longer in the set."),
    h("div", { class: "field" }, h("label", { for: "rd-tag-version" }, "Start from"), from), rows,
    h("div", { class: "tags-end" }, changes, problem, h("div", { class: "tools row" }, add, save, button("Load again", load))));
}

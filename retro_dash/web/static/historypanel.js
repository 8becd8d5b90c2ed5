// History: who said what of the item on the stage, when, and what stood there before. Nothing is ever taken out of it.

import { getPage, id } from "./api.js";
import { age, button, fill, h, setText } from "./dom.js";
import { keyOf } from "./ledger.js";
import { words } from "./marks.js";
import { nameOf } from "./parts.js";

const SHOWN = 50;

/** `episode()`: the id of the item, null for none; `only()`: whose changes alone may be seen, null for all; `open(target)` shows a part. Returns {element, load}. */
export function historyPanel({ episode, only, open }) {
  const list = h("ul", { class: "history", "aria-label": "Changes, newest first" });
  const rest = h("p", {});
  const status = h("p", { class: "small dim", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  /** Labels that take another one back: who takes those back does it again. */
  const takenBack = new Set();
  let asked = 0;

  async function load(next = "") {
    const mine = ++asked;
    const wanted = episode();
    if (wanted === null) {
      fill(list);
      fill(rest);
      return setText(status, "No item is on the stage.");
    }
    try {
      const page = await (next ? getPage(`/labels/audit${next}`) : getPage("/labels/audit", { episode: wanted, annotator: only(), limit: SHOWN }));
      if (mine !== asked) return;
      problem.hidden = true;
      for (const { label } of page.rows) if (label.undoes) takenBack.add(label.id);
      const rows = page.rows.map(changeElement);
      if (next) list.append(...rows);
      else fill(list, rows);
      fill(rest, page.next ? button("Show older changes", () => load(page.next)) : null);
      const [some, none] = only() ? ["Blind: your own changes alone, newest first.", "Blind: you have not said anything of this episode yet."] : ["Newest first.", "Nobody has said anything of this episode yet."];
      setText(status, page.rows.length || next ? some : none);
    } catch (error) {
      if (mine !== asked) return;
      problem.hidden = false;
      setText(problem, error.message);
    }
  }

  function changeElement({ label, before, after }) {
    const { target, name, annotator, at, undoes } = label;
    const verb = undoes ? (takenBack.has(undoes) ? "done again" : "undone") : null;
    return h("li", { "data-part": keyOf(target) }, h("p", {}, h("strong", {}, annotator), ` ${name.replace("_", " ")} `, button(nameOf(target), () => open(target), { class: "link" }), verb ? h("span", { class: "dim" }, ` ${verb}`) : null),
      h("p", {}, valueElement(name, before), h("span", { class: "dim", role: "img", "aria-label": "became" }, " → "), valueElement(name, after)),
      h("time", { class: "small dim", datetime: at, title: new Date(at).toLocaleString("en") }, `${age(at)} ago`));
  }

  load();
  return { element: h("div", { class: "history-panel" }, h("p", { class: "small" }, "Every label of this episode, undone ones included. ", h("code", {}, "retro-dash label --audit"), " lists those of all."), status, problem, list, rest), load: () => load() };
}

function valueElement(name, value) {
  if (value === null) return h("span", { class: "dim" }, "nothing");
  if (name === "rewrite") return h("code", {}, Object.values(value).join(" / "));
  if (name === "tags") return h("span", { class: "chip mark human" }, value.map((tag) => `# ${tag}`).join(" ") || "no tags");
  const [who, text] = words(name, value) ?? ["environment", JSON.stringify(value)];
  return h("span", { class: `chip mark ${who}` }, text);
}

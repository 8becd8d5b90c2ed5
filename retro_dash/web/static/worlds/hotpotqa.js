// The question's own paragraphs: what was read, what was found, and after the end what would have been needed.

import { fill, h, keyed, setText } from "../dom.js";

export function draw(element, view) {
  const parts = element.__hotpotqa ?? build(element);
  const paragraphs = view.paragraphs ?? [];
  const read = paragraphs.filter(isRead).length;
  setText(parts.count, `${read} of ${paragraphs.length} read`);
  const search = view.last_search;
  fill(parts.search, search ? [
    "Last search ", h("code", {}, search.query), search.found ? [" found ", h("strong", {}, search.found)] : [" found nothing", search.similar?.length ? `; similar: ${search.similar.join(", ")}` : ""],
  ] : h("span", { class: "dim" }, "Nothing searched yet."));
  keyed(parts.list, paragraphs, (paragraph) => paragraph.title, create, update);
  showResult(parts.result, view.result);
}

const isRead = (paragraph) => paragraph.is_read ?? paragraph.read ?? false;

function build(element) {
  const parts = { count: h("span", { class: "dim" }), search: h("p", { class: "small" }), list: h("ol", { class: "paragraphs" }), result: h("div", {}) };
  fill(element, parts.result, parts.search, h("h3", {}, "Paragraphs ", parts.count), parts.list);
  element.__hotpotqa = parts;
  return parts;
}

function create() {
  return h("li", {}, h("details", {}, h("summary", {}, h("span", { class: "mark" }), h("span", { class: "title" }), h("span", { class: "chip support", hidden: true }, "★ needed")), h("div", { class: "sentences" })));
}

function update(element, paragraph) {
  const read = isRead(paragraph);
  const needed = (paragraph.supporting ?? []).length > 0;
  const details = element.firstChild;
  const [mark, title, chip] = details.firstChild.children;
  element.className = `paragraph ${read ? "read" : "unread"} ${paragraph.is_current ? "current" : ""}`;
  setText(mark, paragraph.is_current ? "◎" : read ? "✓" : "○");
  mark.title = paragraph.is_current ? "read last" : read ? "read" : "not read";
  setText(title, paragraph.title);
  chip.hidden = !needed;
  const sentences = paragraph.sentences ?? [];
  const state = `${sentences.length} ${(paragraph.supporting ?? []).join()}`;
  if (element.dataset.state === state) return;
  if (sentences.length && element.dataset.state !== undefined && paragraph.is_current) details.open = true;
  element.dataset.state = state;
  fill(details.lastChild, sentences.length
    ? sentences.map((sentence, index) => ((paragraph.supporting ?? []).includes(index) ? h("mark", {}, sentence, " ") : h("span", {}, sentence, " ")))
    : h("span", { class: "dim" }, "Not read: the planner has not seen this text."));
}

function showResult(element, result) {
  if (!result) return void fill(element);
  const right = result.exact_match >= 1 || result.f1 >= 1;
  fill(element, h("dl", { class: `answer ${right ? "success" : "failure"}` },
    h("dt", {}, "Answer"), h("dd", {}, right ? "✓ " : "✕ ", result.answer ?? "none"),
    h("dt", {}, "Right answer"), h("dd", {}, result.gold),
    h("dt", {}, "EM · F1"), h("dd", {}, `${result.exact_match} · ${Math.round(result.f1 * 100) / 100}`)));
}

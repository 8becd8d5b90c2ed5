// The question's own paragraphs: what was read, what was found, and after the end what would have been needed.

import { fill, h, keyed, number, setText } from "../dom.js";

export function draw(element, view) {
  const parts = element.__hotpotqa ?? build(element);
  const { paragraphs, last_search: search, result } = view;
  setText(parts.count, `${paragraphs.filter((one) => one.is_read).length} of ${paragraphs.length} read`);
  fill(parts.search, search ? ["Last search ", h("code", {}, search.query), search.found ? [" found ", h("strong", {}, search.found)] : ` found nothing; similar: ${search.similar.join(", ")}`]
    : h("span", { class: "dim" }, "Nothing searched yet."));
  keyed(parts.list, paragraphs, (one) => one.title, create, update);
  showResult(parts.result, result);
}

function build(element) {
  const parts = { count: h("span", { class: "dim" }), search: h("p", { class: "small" }), list: h("ol", { class: "paragraphs" }), result: h("div", {}) };
  fill(element, parts.result, parts.search, h("h3", {}, "Paragraphs ", parts.count), parts.list);
  element.__hotpotqa = parts;
  return parts;
}

function create() {
  return h("li", {}, h("details", {}, h("summary", {}, h("span", { class: "mark" }), h("span", { class: "title" }), h("span", { class: "chip expert", hidden: true, title: "Holds a supporting sentence" }, "★ needed")), h("div", { class: "sentences" })));
}

function update(element, paragraph) {
  const details = element.firstChild;
  const [mark, title, chip] = details.firstChild.children;
  const { is_read: read, is_current: current, sentences, supporting } = paragraph;
  element.className = `paragraph ${read ? "read" : "unread"} ${current ? "current" : ""}`;
  setText(mark, current ? "◎" : read ? "✓" : "○");
  mark.title = current ? "read last" : read ? "read" : "not read";
  setText(title, paragraph.title);
  chip.hidden = !supporting.length;
  const state = `${sentences?.length} ${supporting.join()} ${current}`;
  if (element.dataset.state === state) return;
  element.dataset.state = state;
  details.open = current;
  fill(details.lastChild, sentences?.length ? sentences.map((sentence, index) => h(supporting.includes(index) ? "mark" : "span", {}, sentence, " "))
    : h("span", { class: "dim" }, "Not read: the planner has not seen this text."));
}

function showResult(element, result) {
  const key = JSON.stringify(result);
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  fill(element, result ? h("dl", { class: `answer ${result.f1 >= 1 ? "success" : "failure"}` },
    h("dt", {}, "Answer"), h("dd", {}, result.f1 >= 1 ? "✓ " : "✕ ", result.answer ?? "none given"), h("dt", {}, "Right answer"), h("dd", {}, result.gold),
    h("dt", {}, "EM · F1"), h("dd", {}, `${number(Number(result.exact_match))} · ${number(result.f1)}`)) : []);
}

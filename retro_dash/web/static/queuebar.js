// The line over the item: what is in the queue and in which order, who labels, how far the work is. And what stands in
// the item's place when the queue has none.

import { get } from "./api.js";
import { button, fill, h, number, setText, store } from "./dom.js";
import { filterLine } from "./filter.js";

const ORDERS = [["shuffle", "shuffled"], ["low_reward", "worst first: low reward"], ["repeats", "worst first: repeated actions"], ["high_gain", "highest reflection gain"], ["disagreement", "most disagreement"], ["uncertainty", "model least sure"], ["newest", "newest first"]];


/** Returns {element, set(query), setOptions, showProgress(page), progress(), fail(problem), focus()}. */
export function drawQueueBar({ me, annotator, query, onQuery, onOption, onAnnotator, onPanel, onPair }) {
  let page = null;
  const line = filterLine((filter) => filter !== query().filter && onQuery({ filter }));
  const order = h("select", { "aria-label": "Order of the queue" }, ORDERS.map(([value, label]) => h("option", { value }, label)));
  order.addEventListener("change", () => {
    order.blur();
    onQuery({ order: order.value });
  });
  const toggle = (name, label, title) => {
    const control = button(label, () => onOption(name, control.getAttribute("aria-pressed") !== "true"), { class: "toggle", "aria-pressed": "false", title });
    return control;
  };
  const auto = toggle("auto-advance", "auto-advance", "After a verdict the next item comes, after a step reward the next turn (Shift+A)");
  const blind = toggle("blind", "blind", "Gains, later outcomes and other people's labels stay hidden until you have judged the reflection (Shift+B)");
  const name = h("input", { class: "annotator", "aria-label": "You label as", title: "You label as", value: annotator, maxlength: 80, readonly: !me.is_owner, autocomplete: "off" });
  name.addEventListener("change", () => {
    name.value = name.value.trim() || me.name;
    store("annotator", name.value);
    onAnnotator(name.value);
  });
  const review = button("Review", () => onPanel("review"), { class: "toggle", title: "Agreement, disagreements and the final word (Shift+R)" });
  const meter = h("meter", { min: 0, max: 1, value: 0, "aria-label": "Done" });
  const words = h("span", { class: "tabular small" }, "…");
  const element = h("div", { class: "queue-bar" }, line.element, order, auto, blind, h("label", { class: "who-labels small" }, h("span", { class: "sign human", "aria-hidden": "true" }, "✎"), name),
    h("div", { class: "progress" }, meter, words),
    h("div", { class: "group" }, button("A/B", () => onPair(), { class: "toggle", title: "Blind votes: which advice is better? (Shift+V)" }), review, button("History", () => onPanel("history"), { class: "toggle", title: "Who said what of this item, and when (Shift+Y)" }), button("Tags", () => onPanel("tags"), { class: "toggle", title: "The tag set (Shift+T)" }), button("Datasets", () => onPanel("datasets"), { class: "toggle" }), button("Import", () => onPanel("import"), { class: "toggle" }), button("Keys", () => onPanel("keys"), { class: "toggle" })));
  get("/filters").then(line.know).catch(() => {});

  function showProgress(now) {
    page = now;
    meter.value = page.total ? page.done / page.total : 0;
    const disputed = page.states?.adjudication ?? 0;
    setText(review, disputed ? `Review ${disputed.toLocaleString("en")}` : "Review");
    const left = page.eta_seconds !== null && page.left_for_me ? `${duration(page.eta_seconds)} left` : `${page.left_for_me.toLocaleString("en")} left`;
    setText(words, [`${page.done.toLocaleString("en")} of ${page.total.toLocaleString("en")} done`, `${page.mine.toLocaleString("en")} by you`, page.per_minute ? `${number(Math.round(page.per_minute * 10) / 10)}/min` : null, left].filter(Boolean).join(" · "));
  }

  return {
    element, showProgress, fail: line.fail, focus: line.focus, progress: () => page,
    set: (wanted) => {
      line.set(wanted.filter);
      order.value = wanted.order;
    },
    setOptions: ({ isAuto, isBlind }) => {
      auto.setAttribute("aria-pressed", String(isAuto));
      blind.setAttribute("aria-pressed", String(isBlind));
    },
  };
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 360) / 10} h`;
}

/** What stands there when no item does. */
export function endElement({ problem, isHomeEmpty, progress, onImport, onDatasets, onBack, onAll }) {
  if (problem) return card(problem.status === 422 ? "The filter has a mistake." : "The queue could not be read.", problem.message);
  if (isHomeEmpty) return card("Nothing to label yet.", "Episodes come from playing, from collecting runs, and from files of other programs. Then they stand here one by one, and your verdicts become a dataset.",
    h("a", { class: "button primary", href: "/" }, "Play one"), button("Import files", onImport));
  if (progress?.total === 0) return card("No episode matches this filter.", "Change it, or take every episode.", button("All episodes", onAll, { class: "primary" }));
  const isLeft = progress && progress.done + progress.mine < progress.total;
  return card("✓ Nothing here waits for you.", isLeft ? "What is left is on other people's screens, or you passed it over. Wait a little, or go through another filter." : "Every episode of this queue has its verdict. Freeze it into a dataset, or go through another filter.",
    button([h("kbd", {}, "⇧D"), h("span", {}, "Freeze a dataset")], onDatasets, { class: "primary" }), button("Back to the last item", onBack), button("All episodes", onAll));
}

const card = (title, words, ...tools) => fill(h("div", { class: "empty-state" }), h("p", {}, h("strong", {}, title)), h("p", {}, words), tools.length ? h("div", { class: "tools row" }, tools) : null);

// Review: how far annotators agree, where they differ, and the final word. What is chosen here stands on the stage beside.

import { get, id } from "./api.js";
import { button, coefficient, fill, h, plural, setText } from "./dom.js";
import { nameOf } from "./parts.js";
import { judgeSection } from "./judgepanel.js";
import { REWARDS, VERDICTS, words } from "./marks.js";

const NAMES = [["verdict", "verdict"], ["step_reward", "step reward"], ["first_error", "first error"], ["accurate", "accurate"], ["actionable", "actionable"], ["followed", "followed"]];
const SHOWN = 20;
const QUALITY = new Set(["accurate", "actionable", "followed"]);
/** Landis and Koch (1977). */
const WORDS = [[0.8, "almost perfect"], [0.6, "substantial"], [0.4, "moderate"], [0.2, "fair"], [0, "slight"]];

/**
 * `open(target)` shows a part on the stage; `decide(target, name, value)` keeps an adjudication, null takes it back, and
 * resolves once the hub has it; `query()` and `onQuery(change)` are the queue's. Returns {element, step(by)}.
 */
export function reviewPanel({ open, decide, query, onQuery, say }) {
  let name = "verdict";
  let found = null;
  let chosen = -1;
  let shown = 0;
  const numbers = h("dl", { class: "preview-counts tabular agreement" });
  const people = h("div", {}, h("p", { class: "dim small" }, "Reading what everybody said …"));
  const list = h("ul", { class: "disputes", "aria-label": "Disagreements" });
  const rest = h("p", {});
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const status = h("p", { class: "small dim", role: "status" });
  // What stands under the numbers waits for them, so that nothing jumps.
  const below = h("div", { class: "review-below", hidden: true });
  const names = h("div", { class: "chips", role: "group", "aria-label": "Which label" }, NAMES.map(([value, label]) => button(label, () => choose(value), { class: "toggle small", "aria-pressed": String(value === name), "data-name": value })));

  function choose(value) {
    name = value;
    chosen = -1;
    for (const one of names.children) one.setAttribute("aria-pressed", String(one.dataset.name === name));
    load();
  }

  async function load() {
    try {
      found = await get("/agreement", { name });
      problem.hidden = true;
      show();
    } catch (error) {
      problem.hidden = false;
      setText(problem, error.message);
    }
    below.hidden = false;
  }

  function show() {
    fill(numbers, [
      [found.items.toLocaleString("en"), "judged by two or more", ""],
      [found.percent === null ? "–" : `${Math.round(found.percent * 100)} %`, "agreeing pairs", ""],
      [coefficient(found.cohen_kappa), "Cohen’s κ", strength(found.cohen_kappa)],
      [coefficient(found.fleiss_kappa), `Fleiss’ κ, ${plural(found.fleiss_items, "item")}`, strength(found.fleiss_kappa)],
      [coefficient(found.krippendorff_alpha), "Krippendorff’s α", strength(found.krippendorff_alpha)],
    ].map(([value, label, word]) => h("div", {}, h("dt", {}, label), h("dd", {}, value, word ? h("span", { class: "small dim" }, ` ${word}`) : null))));
    fill(people, found.statistics.length ? peopleTable() : h("p", { class: "dim small" }, "Nobody has given this label yet."));
    const open_ = disputes().filter((one) => one.adjudicated === null).length;
    setText(status, found.disagreements.length ? `${plural(found.disagreements.length, "disagreement")}, ${open_} without a decision. Keys: [ and ] go through them, in the list 1–9 decide.` : found.items ? "Nobody disagrees." : "Where two people judge the same item, it shows here whether they agree.");
    const all = disputes();
    shown = Math.max(SHOWN, chosen + 1);
    fill(list, all.slice(0, shown).map(disputeElement));
    fill(rest, all.length > shown ? button(`Show ${plural(all.length - shown, "more disagreement")}`, more) : null);
  }

  function more() {
    list.append(...disputes().slice(shown).map((one, index) => disputeElement(one, shown + index)));
    shown = found.disagreements.length;
    fill(rest);
  }

  // Those without a decision first, otherwise in the hub's order.
  const disputes = () => [...found.disagreements].sort((a, b) => (a.adjudicated !== null) - (b.adjudicated !== null));

  function peopleTable() {
    return h("table", { class: "small tabular people" }, h("thead", {}, h("tr", {}, ["annotator", "items", "with the majority", "said"].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, found.statistics.map((one) => h("tr", {}, h("th", { scope: "row" }, one.annotator), h("td", {}, one.items.toLocaleString("en")),
        h("td", {}, one.with_majority === null ? "–" : `${Math.round(one.with_majority * 100)} % of ${one.with_others}`),
        h("td", {}, Object.entries(one.values).sort((a, b) => b[1] - a[1]).map(([value, count]) => `${value} ${count}`).join(", "))))));
  }

  function disputeElement(dispute, place) {
    const { target, values, adjudicated } = dispute;
    const where = button([h("strong", {}, nameOf(target)), h("code", { class: "small dim" }, target.episode_id)], () => go(place), { class: "quiet dispute-where" });
    const row = h("li", { "data-target": targetKey(target), class: adjudicated === null ? "" : "decided", "aria-current": place === chosen ? "true" : null }, where,
      h("div", { class: "chips" }, Object.entries(values).map(([who, value]) => h("span", { class: `chip mark ${hue(value)} theirs` }, `${who}: `, text(value)))),
      h("div", { class: "group", role: "group", "aria-label": `Decide ${nameOf(target)}` }, choices(dispute).map((value, index) => button([h("kbd", {}, String(index + 1)), h("span", {}, text(value))], () => settle(place, value), { class: `key ${hue(value)}`, "aria-pressed": String(same(adjudicated, value)) }))));
    row.addEventListener("keydown", (event) => {
      const value = /^[1-9]$/.test(event.key) ? choices(dispute)[Number(event.key) - 1] : undefined;
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey || (value === undefined && !by)) return;
      event.preventDefault();
      if (by) step(by);
      else settle(place, value);
    });
    return row;
  }

  const hue = (value) => words(labelName(), labelValue(value))?.[0] ?? "environment";
  const text = (value) => (QUALITY.has(name) ? (value ? `✓ ${name}` : `✕ not ${name}`) : words(name, value)?.[1] ?? String(value));
  const labelName = () => (QUALITY.has(name) ? "quality" : name);
  const labelValue = (value) => (QUALITY.has(name) ? { [name]: value } : value);
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  /** What can be decided: all verdicts and rewards, else what somebody said. */
  function choices({ values }) {
    if (name === "verdict") return VERDICTS.map(([verdict]) => verdict);
    if (name === "step_reward") return REWARDS.map(([reward]) => reward);
    if (QUALITY.has(name)) return [true, false];
    return [...new Set(Object.values(values))].sort((a, b) => a - b);
  }

  async function settle(place, value) {
    const { target, adjudicated } = disputes()[place];
    const isBack = same(adjudicated, value);
    await decide(target, labelName(), isBack ? null : labelValue(value));
    say(isBack ? `${nameOf(target)}: decision taken back` : `${nameOf(target)}: decided, ${text(value)}`);
    const key = targetKey(target);
    await load();
    // The decided one moves down; the next without a decision takes its place on the stage.
    chosen = -1;
    const following = disputes().findIndex((one) => one.adjudicated === null);
    if (!isBack && following >= 0) return go(following);
    list.querySelector(`[data-target="${CSS.escape(key)}"] .dispute-where`)?.focus();
  }

  function go(place) {
    const all = found ? disputes() : [];
    if (!all.length) return;
    chosen = Math.min(all.length - 1, Math.max(0, place));
    if (chosen >= shown) more();
    [...list.children].forEach((row, index) => (index === chosen ? row.setAttribute("aria-current", "true") : row.removeAttribute("aria-current")));
    open(all[chosen].target);
    list.children[chosen].querySelector(".dispute-where").focus();
    list.children[chosen].scrollIntoView({ block: "nearest" });
  }

  const step = (by) => go(chosen < 0 ? 0 : chosen + by);

  load();
  const element = h("div", { class: "review-panel" }, names, problem, numbers, people, fill(below, h("h3", {}, "Disagreements"), status, list, rest, assignment({ query, onQuery }), judgeSection({ query, say })));
  return { element, step };
}

const targetKey = ({ episode_id, part, trial, turn }) => [episode_id, part, trial, turn].join(" ");
const strength = (value) => (value === null ? "" : (WORDS.find(([least]) => value >= least)?.[1] ?? "worse than chance"));

/** How many annotators an episode of the queue needs. */
function assignment({ query, onQuery }) {
  const overlap = h("input", { type: "number", id: "rd-overlap", min: 1, max: 20, step: 1, value: query().overlap ?? 1 });
  const share = h("input", { type: "number", id: "rd-overlap-share", min: 0, max: 100, step: 5, value: Math.round((query().overlap_share ?? 1) * 100) });
  const change = () => onQuery({ overlap: Math.min(20, Math.max(1, Math.round(Number(overlap.value)) || 1)), overlap_share: Math.min(1, Math.max(0, Number(share.value) / 100)) });
  for (const input of [overlap, share]) input.addEventListener("change", change);
  return h("section", { "aria-label": "Assignment" }, h("h3", {}, "Assignment"),
    h("p", { class: "small assignment" }, h("label", { for: "rd-overlap" }, "Annotators an episode"), overlap, h("label", { for: "rd-overlap-share" }, "on % of the episodes"), share),
    h("p", { class: "dim small" }, "The others need one. The same episodes are drawn every time; send the address of this page to your annotators."));
}

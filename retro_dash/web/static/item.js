// One item of a queue: its trials beside each other with the reflections between them, each part a place for labels.

import { get, id } from "./api.js";
import { button, fill, h, number, player, plural, reason, sign } from "./dom.js";
import { keyOf } from "./ledger.js";
import { markChip } from "./marks.js";
import { countOf, nameOf, reflectionAfter } from "./parts.js";
import { rewriteElement, rewriteForm } from "./rewrite.js";
import { gainBadge, openingElement, outcome, reflectionElement, turnElement } from "./turns.js";

const TURNS_A_PAGE = 50;
const NAMES = ["verdict", "adjudication", "step_reward", "first_error", "quality", "preference", "tags", "note"];

/**
 * Draws an item. `ledger()` gives its labels as they stand, `isSaved(id)` whether the hub has one, `isBlind()` whether
 * outcomes wait for a judgement. Returns {focus(target), show(), edit(target, …), has(key)}.
 */
export function drawItem(element, item, { ledger, isSaved, isBlind, onFocus }) {
  const { episode } = item;
  const places = new Map();
  const shownTurns = new Map(episode.trials.map((trial) => [trial.index, new Map()]));
  let focused = null;
  const columns = h("div", { class: "item-columns", tabindex: "0", role: "region", "aria-label": "Trials and reflections" });
  fill(element, headElement(), columns);
  fill(columns, episode.trials.flatMap((trial) => [trialElement(trial), reflectionPlace(trial)]));
  if (episode.trials.length === 1) columns.append(openingColumn(episode.trials[0]));
  if (!episode.trials.length) fill(columns, h("p", { class: "dim" }, "This episode has no trials."));
  columns.style.setProperty("--columns", [...columns.children].map((one) => (one.matches(".reflection-column") ? "minmax(270px, 0.8fr)" : "minmax(300px, 1fr)")).join(" "));
  columns.classList.toggle("single", episode.trials.length === 1);
  show();

  function place(target, node, more = {}) {
    const marks = h("div", { class: "marks" });
    places.set(keyOf(target), { target, node, marks, ...more });
    node.dataset.part = keyOf(target);
    node.addEventListener("click", (event) => {
      if (event.target.closest("button, a, summary, textarea, input") || getSelection().toString()) return;
      event.stopPropagation();
      onFocus(target);
    });
    return marks;
  }

  function headElement() {
    const head = h("header", { class: "item-head part", tabindex: "-1", "aria-label": "Whole episode" });
    const marks = place({ part: "episode", trial: null, turn: null }, head);
    const last = episode.trials.at(-1);
    const [who, mark] = last ? outcome(last) : ["environment", "–"];
    head.append(h("h1", { class: "task" }, episode.task.instruction), h("div", { class: "chips" },
      h("span", { class: "chip outcome" }, h("span", { class: `sign ${who}`, "aria-hidden": "true" }, mark), episode.state), h("span", { class: "chip" }, episode.task.env),
      h("span", { class: "chip who" }, sign(player(episode.planner, "planner")), episode.planner), h("span", { class: "chip who" }, sign(player(episode.reflector, "reflector")), episode.reflector),
      h("a", { class: "chip", href: `/episodes?episode=${id(episode.id)}`, title: "Read it on the Episodes page" }, episode.id), marks));
    return head;
  }

  function trialElement(trial) {
    const [who, mark, word] = outcome(trial);
    const head = h("header", { class: `column-head part ${who}`, tabindex: "-1" });
    const marks = place({ part: "trial", trial: trial.index, turn: null }, head);
    const facts = [`reward ${number(trial.reward)}`, trial.stop_reason && !trial.success ? reason(trial.stop_reason) : null].filter(Boolean).join(" · ");
    head.append(h("h2", {}, `Trial ${trial.index} `, h("span", { class: "outcome" }, h("span", { class: `sign ${who}`, "aria-hidden": "true" }, mark), `${word} `), h("span", { class: "dim small" }, h("span", { class: "outcome" }, `${facts} · `), plural(countOf(episode, trial), "turn"))), marks);
    const list = h("div", { class: "turn-list" });
    const column = h("section", { class: "trial-column", "aria-label": `Trial ${trial.index}` }, head, trial.error ? h("p", { class: "problem" }, trial.error) : null, episode.trials.length > 1 ? openingElement(trial) : null, list);
    addTurns(trial, list, trial.turns);
    return column;
  }

  // With one trial there is room for what it began with.
  function openingColumn(trial) {
    const opening = openingElement(trial);
    opening.open = true;
    return h("aside", { class: "opening-column", "aria-label": "Opening and prompt" }, opening);
  }

  function addTurns(trial, list, turns) {
    list.querySelector(".more-turns")?.remove();
    const seen = shownTurns.get(trial.index);
    for (const turn of turns) {
      seen.set(turn.index, turn);
      const node = turnElement(turn, { trial: trial.index, before: seen.get(turn.index - 1)?.reward ?? 0, repeats: firstSame(seen, turn) });
      node.classList.add("part");
      const said = node.querySelector(".said");
      said.append(place({ part: "turn", trial: trial.index, turn: turn.index }, node, { turn, body: said }));
      list.append(node);
    }
    const shown = seen.size;
    if (shown < countOf(episode, trial)) list.append(h("p", { class: "more-turns" }, button(`Show turns ${shown + 1}–${Math.min(shown + TURNS_A_PAGE, countOf(episode, trial))} of ${countOf(episode, trial)}`, () => more(trial), { class: "quiet" })));
  }

  async function more(trial) {
    const list = places.get(keyOf({ part: "trial", trial: trial.index, turn: null })).node.parentElement.querySelector(".turn-list");
    const start = shownTurns.get(trial.index).size + 1;
    addTurns(trial, list, await get(`/episodes/${id(episode.id)}/trials/${trial.index}/turns`, { start, stop: start + TURNS_A_PAGE }));
    show();
  }

  function reflectionPlace(trial) {
    const reflection = reflectionAfter(episode, trial.index);
    if (!reflection) return null;
    const node = reflectionElement(reflection, { level: "h2" });
    node.classList.add("part");
    node.tabIndex = -1;
    const body = node.querySelector("blockquote");
    node.append(place({ part: "reflection", trial: trial.index, turn: null }, node, { reflection, body }));
    return h("div", { class: "reflection-column" }, node);
  }

  /** Show the labels as they stand, on every part. */
  function show() {
    const standing = ledger();
    for (const entry of places.values()) showPart(entry, standing);
    const hidden = new Set();
    if (isBlind()) for (const { after_trial } of episode.reflections) if (!isJudged(standing, after_trial)) hidden.add(after_trial);
    element.classList.toggle("blind", hidden.size > 0);
    for (const trial of episode.trials) {
      const column = places.get(keyOf({ part: "trial", trial: trial.index, turn: null })).node.parentElement;
      column.classList.toggle("hidden-outcome", [...hidden].some((after) => after < trial.index));
    }
    for (const reflection of episode.reflections) {
      const gain = places.get(keyOf({ part: "reflection", trial: reflection.after_trial, turn: null }))?.node.querySelector(".gain");
      const wanted = hidden.has(reflection.after_trial) ? h("span", { class: "gain waiting" }, "gain hidden until judged") : gainBadge(reflection);
      if (gain && gain.textContent !== wanted.textContent) gain.replaceWith(wanted);
    }
  }

  const isJudged = (standing, trial) => ["quality", "verdict", "preference"].some((name) => standing.label({ part: "reflection", trial, turn: null }, name));

  function showPart(entry, standing) {
    const { target } = entry;
    const chips = NAMES.flatMap((name) => {
      const label = standing.label(target, name);
      if (!label) return [];
      const state = isSaved(label.id) ? "saved" : "pending";
      if (name === "tags") return label.value.map((tag) => markTag(tag, state));
      return [markChip(name, label.value, { state })];
    });
    if (target.part === "turn" && standing.value({ part: "trial", trial: target.trial, turn: null }, "first_error") === target.turn) chips.unshift(h("span", { class: "chip failure mark" }, "! first error"));
    const theirs = isBlind() ? [] : standing.others(target).map((label) => (label.name === "tags" ? label.value.map((tag) => markTag(tag, "saved", label.annotator)) : markChip(label.name, label.value, { by: label.annotator })));
    fill(entry.marks, chips, theirs);
    showRewrite(entry, standing.label(target, "rewrite"));
  }

  function showRewrite(entry, label) {
    if (!entry.body || entry.editing) return;
    const key = label ? `${label.id} ${isSaved(label.id)}` : "";
    if (entry.rewritten === key || (!label && !entry.rewritten)) return;
    entry.rewritten = key;
    entry.node.querySelector(".rewrite")?.remove();
    const value = label?.value;
    for (const field of ["thought", "action", "text"]) entry.node.classList.toggle(`rewrote-${field}`, value?.[field] !== undefined);
    if (!value) return;
    const shown = rewriteElement(value, isSaved(label.id));
    if (entry.reflection) entry.body.after(shown);
    else entry.body.querySelector(".action").after(shown);
  }

  function focus(target, { quiet = false } = {}) {
    const entry = places.get(keyOf(target));
    if (!entry) return false;
    if (focused) {
      focused.classList.remove("focused");
      focused.removeAttribute("aria-current");
    }
    focused = entry.node;
    focused.classList.add("focused");
    focused.setAttribute("aria-current", "true");
    if (!quiet) focused.focus({ preventScroll: true });
    focused.scrollIntoView({ block: target.part === "turn" ? "nearest" : target.part === "trial" ? "start" : "nearest", inline: "nearest" });
    return true;
  }

  /** Reach a part that may not be on the page yet: a late turn of a long trial. */
  async function reach(target) {
    const trial = episode.trials.find((one) => one.index === target.trial);
    while (target.part === "turn" && trial && !places.has(keyOf(target)) && shownTurns.get(trial.index).size < countOf(episode, trial)) await more(trial);
    return places.has(keyOf(target));
  }

  /** Rewrite in place. `onDone(value|null)`: null when nothing differs from what was written. */
  function edit(target, standing, onDone) {
    const entry = places.get(keyOf(target));
    if (!entry?.body || entry.editing) return;
    const end = () => {
      entry.editing = false;
      form.remove();
      entry.node.classList.remove("editing");
      show();
      focus(target);
    };
    const original = entry.reflection ? { text: entry.reflection.text } : { thought: entry.turn.thought, action: entry.turn.action };
    const form = rewriteForm({ name: nameOf(target), original, standing, onCancel: end, onSave: (value) => { end(); onDone(value); } });
    entry.editing = true;
    entry.node.classList.add("editing");
    if (entry.reflection) entry.body.after(form);
    else entry.body.prepend(form);
    form.querySelector("textarea:last-of-type").focus();
    form.scrollIntoView({ block: "nearest" });
  }

  return { focus, show, edit, reach, has: (target) => places.has(keyOf(target)) };
}

function markTag(tag, state, by = "") {
  return h("span", { class: `chip mark human ${by ? "theirs" : ""}`, title: by ? `by ${by}` : state === "saved" ? "Saved by the hub" : "Not saved yet" }, by ? `${by}: ` : "", "# ", tag,
    by ? null : h("i", { class: "saved-sign", role: "img", "aria-label": state === "saved" ? "saved" : "not saved yet" }, state === "saved" ? "✓" : "…"));
}

function firstSame(turns, turn) {
  for (const other of turns.values()) if (other.index < turn.index && other.action && other.action === turn.action && other.observation === turn.observation) return other.index;
  return null;
}

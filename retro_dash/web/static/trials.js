// The trials of a live episode, one under the other, with the reflections between them.

import { button, fill, h, keyed, number, player, plural, reason, setText, sign } from "./dom.js";
import { openingElement, outcome, reflectionElement, turnElement } from "./turns.js";
import { failureWords, partingOf } from "./why.js";

/** Draws into `element`; `acts`: {fork, other, step, reflect, editReflection, nextTrial}. Returns {show(state), stream(state)}. */
export function drawTrials(element, acts) {
  const folded = new Map();

  function show(state) {
    const { episode } = state;
    keyed(element, items(state), (item) => item.key, (item) => CREATE[item.kind](item, { acts, folded }), (node, item) => node.__update?.(item, state));
  }

  /** A piece of text came: only the text that is being written changes. */
  function stream(state) {
    const at = element.querySelector(state.partial?.role === "reflector" ? ".writing" : ".pending");
    if (at?.__write) at.__write(state.partial.text);
    else show(state);
  }
  return { show, stream, folded };
}

function items(state) {
  const { episode, phase, partial } = state;
  const list = [];
  const last = episode.trials.at(-1);
  for (const trial of episode.trials) {
    list.push({ kind: "trial", key: `trial ${trial.index}`, trial, episode, isLast: trial === last });
    const reflection = episode.reflections.find((one) => one.after_trial === trial.index);
    const isOpen = trial === last && phase === "between_trials" && !trial.success;
    const isWriting = trial === last && (partial?.role === "reflector" || phase === "reflecting") && trial.stop_reason && !trial.success;
    if (isWriting && !reflection) list.push({ kind: "writing", key: `writing ${trial.index}`, trial });
    else if (reflection) list.push({ kind: "reflection", key: `reflection ${trial.index}`, reflection, isOpen, trial, next: episode.trials.find((one) => one.index === trial.index + 1) });
    else if (isOpen) list.push({ kind: "choice", key: `choice ${trial.index}`, trial, allowed: state.allowed });
  }
  if (phase === "thinking" && !last) list.push({ kind: "waiting", key: "waiting" });
  return list;
}

const CREATE = { trial: createTrial, reflection: createReflection, writing: createWriting, choice: createChoice, waiting: createWaiting };

function createTrial({ trial }, { acts, folded }) {
  const title = h("span", { class: "trial-title" });
  const facts = h("span", { class: "trial-facts dim" });
  const toggle = h("button", { type: "button", class: "trial-head", "aria-expanded": "true" }, h("span", { class: "twist", "aria-hidden": "true" }, "▾"), title, facts);
  const turns = h("div", { class: "turns" });
  const pending = h("div", {});
  const error = h("p", { class: "problem", hidden: true });
  const why = h("p", { class: "why", hidden: true });
  const body = h("div", { class: "trial-body" }, openingElement(trial), turns, pending, error, why);
  const section = h("section", { class: "trial", id: `trial-${trial.index}`, "aria-label": `Trial ${trial.index}` }, h("h2", { class: "bare" }, toggle), body);
  toggle.addEventListener("click", () => {
    folded.set(trial.index, !body.hidden);
    setFolded(!body.hidden);
  });
  const setFolded = (fold) => {
    body.hidden = fold;
    section.classList.toggle("folded", fold);
    toggle.setAttribute("aria-expanded", String(!fold));
  };
  section.__update = (item, state) => {
    const [who, mark, word] = outcome(item.trial);
    section.dataset.outcome = who;
    fill(title, `Trial ${item.trial.index} `, h("span", { class: `sign ${who === "running" ? "planner" : who}`, "aria-hidden": "true" }, mark), ` ${word}`);
    setText(facts, [item.trial.stop_reason ? `reward ${number(item.trial.reward)}` : "", plural(item.trial.turns.length, "turn"), item.trial.stop_reason && !item.trial.success ? reason(item.trial.stop_reason) : ""].filter(Boolean).join(" · "));
    const before = item.episode.trials.find((one) => one.index === item.trial.index - 1);
    const parting = before ? partingOf(before, item.trial) : null;
    keyed(turns, item.trial.turns, (turn) => `${turn.index} ${turn.action} ${turn.author}`, (turn) => turnElement(turn, {
      trial: item.trial.index, before: item.trial.turns[turn.index - 2]?.reward ?? 0, instead: parting?.turn === turn.index ? { trial: before.index, action: parting.was } : null,
      tools: [button("fork", () => acts.fork(item.trial.index, turn), { class: "link", title: "Begin a new episode that leaves this one before this turn; this one stays as it is" })],
    }));
    error.hidden = !item.trial.error;
    setText(error, item.trial.error ?? "");
    const words = failureWords(item.trial);
    why.hidden = !words;
    if (words && !why.firstChild) fill(why, h("span", { class: "sign failure", "aria-hidden": "true" }, "✕"), h("strong", {}, `Trial ${item.trial.index} failed: `), words);
    updatePending(pending, item, state, acts);
    setFolded(folded.get(item.trial.index) ?? !item.isLast);
  };
  return section;
}

// What the planner is writing, or has written and waits with.
function updatePending(place, item, state, acts) {
  const running = item.isLast && item.trial.stop_reason === null;
  const other = running && state.phase === "ready" ? acts.other(item.episode) : null;
  const wanted = !running ? "" : state.phase === "proposed" ? "proposal" : state.partial?.role === "planner" ? "pending" : ["thinking", "acting"].includes(state.phase) ? "pending" : other ? `other ${other.name}` : "";
  const key = `${wanted} ${item.trial.turns.length}`;
  if (place.dataset.key !== key) {
    place.dataset.key = key;
    fill(place, wanted === "pending" ? pendingTurn(item.trial.turns.length + 1, player(item.episode.planner, "planner")) : wanted === "proposal" ? proposalForm(item.trial.turns.length + 1, state.proposal, acts) : other ? otherPlanner(item, other, acts) : []);
  }
  place.firstChild?.__write?.(state.partial?.role === "planner" ? state.partial.text : "", state.phase);
}

// The way out when the planner does not answer any more, or is not wanted any more.
function otherPlanner({ trial }, other, acts) {
  const next = { index: trial.turns.length + 1 };
  return h("div", { class: "tools row" }, button(`Go on with ${other.label || other.name}`, () => acts.fork(trial.index, next, other.name), { title: "In a new episode that shares the turns so far; this one stays as it is" }));
}

const THOUGHT_ACTION = /^\s*(?:thought(?:\s+\d+)?\s*:\s*)?([\s\S]*?)(?:(?:^|\n)\s*action(?:\s+\d+)?\s*:\s*([\s\S]*))?$/i;

function pendingTurn(index, who) {
  const thought = h("div", { class: "thought" });
  const code = h("code", {});
  const action = h("div", { class: "action" }, sign(who), code);
  const caret = h("span", { class: "caret", "aria-hidden": "true" });
  const element = h("article", { class: `turn pending by-${who}`, "aria-label": `Turn ${index}, being written` },
    h("div", { class: "index" }, String(index)), h("div", { class: "said" }, thought, action), h("div", { class: "side" }));
  element.__write = (text, phase) => {
    const [, said = "", done] = THOUGHT_ACTION.exec(text) ?? [];
    setText(thought, text ? said : "");
    thought.hidden = Boolean(text) && !said;
    setText(code, done ?? "");
    action.hidden = done === undefined;
    thought.classList.toggle("empty", !text);
    thought.dataset.wait = phase === "acting" ? "the environment answers …" : "thinking …";
    (done === undefined ? thought : code).append(caret);
  };
  return element;
}

function proposalForm(index, proposal, acts) {
  const thought = h("textarea", { rows: 2, id: "rd-thought", value: proposal?.thought ?? "" });
  const action = h("textarea", { rows: 1, id: "rd-action", class: "mono", value: proposal?.action ?? "" });
  const go = () => {
    const isSame = thought.value === (proposal?.thought ?? "") && action.value === (proposal?.action ?? "");
    acts.step(isSame ? {} : { thought: thought.value, action: action.value });
  };
  const form = h("form", { class: "turn proposal", "aria-label": `Turn ${index}, waiting for you`, on: { submit: (event) => { event.preventDefault(); go(); } } },
    h("div", { class: "index" }, String(index)),
    h("div", { class: "said" },
      h("p", { class: "note" }, sign("human"), " The planner waits. Change its thought or action, or let it go on."),
      h("label", { for: "rd-thought" }, "Thought"), thought, h("label", { for: "rd-action" }, "Action"), action,
      h("div", { class: "tools row" }, button("Do it", go, { class: "primary" }), h("span", { class: "dim small" }, "Ctrl+Enter")),
      proposal?.raw && !proposal.action ? h("details", { class: "was" }, h("summary", {}, "what the planner wrote"), h("pre", {}, proposal.raw)) : null),
    h("div", { class: "side" }));
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || event.target === action) && !event.shiftKey) {
      event.preventDefault();
      go();
    } else if (event.key === "Escape") event.target.blur();
  });
  requestAnimationFrame(() => action.focus());
  return form;
}

function createReflection(item, { acts }) {
  const place = h("div", { class: "between" });
  let shown = "";
  let editing = false;
  place.__update = ({ reflection, isOpen, trial, next }) => {
    const key = JSON.stringify([reflection, isOpen, next?.stop_reason, next ? partingOf(trial, next)?.turn : 0]);
    if (editing && isOpen) return;
    if (key === shown) return;
    shown = key;
    editing = false;
    const edit = (text) => {
      editing = true;
      fill(place, reflectionForm(text, (written) => done(() => acts.editReflection(written)), () => done(() => {})));
    };
    const done = (then) => {
      editing = false;
      shown = "";
      then();
      place.__update({ reflection, isOpen, trial, next });
    };
    const tools = isOpen ? [
      button([sign("human"), " Edit"], () => edit(reflection.text)), button("Write my own", () => edit("")),
      reflection.text.trim() ? button("Use none", () => acts.editReflection("")) : null,
      button([h("span", {}, "Next trial"), h("kbd", {}, "n")], () => acts.nextTrial(), { class: "primary" })] : [];
    const element = reflectionElement(reflection, { tools: tools.filter(Boolean), note: next ? changeElement(trial, next) : null });
    element.classList.toggle("hero", isOpen);
    fill(place, element);
  };
  return place;
}

/** What the trial after a reflection did with it. */
function changeElement(trial, next) {
  const parting = partingOf(trial, next);
  const [who, mark] = outcome(next);
  const end = !next.stop_reason ? "" : next.success ? ` Solved in ${plural(next.turns.length, "turn")}.` : " It failed again.";
  if (!parting && !end) return null;
  return h("p", { class: "change" }, h("span", { class: `sign ${who === "running" ? "planner" : who}`, "aria-hidden": "true" }, mark), h("strong", {}, `What changed in trial ${next.index}: `),
    parting ? ["at turn ", String(parting.turn), " it did ", h("code", {}, parting.now), " instead of ", h("code", {}, parting.was), "."] : "it took the same turns.", end);
}

function reflectionForm(text, onSave, onCancel) {
  const area = h("textarea", { rows: 5, "aria-label": "Reflection", value: text, placeholder: "What went wrong, and what to do next time" });
  const save = () => onSave(area.value);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    else if (event.key === "Escape") onCancel();
  });
  requestAnimationFrame(() => area.focus());
  return h("section", { class: "reflection hero" }, h("header", {}, h("h3", {}, sign("reflector"), "Reflection"), h("span", { class: "author human" }, sign("human"), "by a person")),
    area, h("div", { class: "tools row" }, button("Use this", save, { class: "primary" }), button("Cancel", onCancel), h("span", { class: "dim small" }, "Ctrl+Enter")));
}

function createWriting() {
  const text = h("blockquote", { class: "empty" });
  const caret = h("span", { class: "caret", "aria-hidden": "true" });
  text.dataset.wait = "looking back …";
  const element = h("div", { class: "between writing" },
    h("section", { class: "reflection hero", "aria-label": "Reflection, being written" }, h("header", {}, h("h3", {}, sign("reflector"), "Reflection"), h("span", { class: "author reflector" }, "being written")), text));
  element.__write = (written) => {
    setText(text, written);
    text.classList.toggle("empty", !written);
    text.append(caret);
  };
  element.__update = (item, state) => element.__write(state.partial?.role === "reflector" ? state.partial.text : "");
  return element;
}

function createChoice(item, { acts }) {
  const place = h("div", { class: "between" });
  const card = () => fill(place, h("section", { class: "reflection ask" },
    h("p", {}, sign("reflector"), ` Trial ${item.trial.index} failed. What should the next one know?`),
    h("div", { class: "tools row" },
      item.allowed.includes("reflect") ? button([h("span", {}, "Reflect"), h("kbd", {}, "f")], () => acts.reflect(), { class: "primary reflector" }) : null,
      item.allowed.includes("reflect") ? button([sign("human"), " Write my own"], () => fill(place, reflectionForm("", (text) => acts.reflect(text), card))) : null,
      button([h("span", {}, "Next trial"), h("kbd", {}, "n")], () => acts.nextTrial()))));
  card();
  return place;
}

function createWaiting() {
  return h("div", { class: "skeleton", "aria-hidden": "true" }, h("i", {}), h("i", {}), h("i", {}));
}

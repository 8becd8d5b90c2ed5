// One turn, one reflection, one opening: the same everywhere.

import { button, clean, fill, h, number, sign, signed } from "./dom.js";

const FOLD_CHARACTERS = 420;
const FOLD_LINES = 6;
const WHO = { planner: "planner", expert: "expert", human: "human" };

/** Text that folds when long; only the shown part is in the page. */
export function foldable(text, props = {}) {
  const whole = clean(text);
  const lines = whole.split("\n");
  let short = lines.slice(0, FOLD_LINES).join("\n").slice(0, FOLD_CHARACTERS);
  if (short.length > whole.length - 40) short = whole;
  const shown = h("span", {}, short);
  const box = h("div", props, shown);
  if (short === whole) return box;
  let open = false;
  const toggle = button("", () => set(!open), { class: "link fold", "aria-expanded": "false" });
  const set = (to) => {
    open = to;
    fill(shown, open ? whole : `${short.trimEnd()} …`);
    fill(toggle, open ? "show less" : `show all ${whole.length.toLocaleString("en")} characters`);
    toggle.setAttribute("aria-expanded", String(open));
  };
  box.append(toggle);
  box.addEventListener("rd-fold", (event) => set(event.detail));
  box.classList.add("can-fold");
  set(false);
  return box;
}

/** Open or fold everything foldable inside an element. */
export function foldAll(root, open) {
  for (const box of root.querySelectorAll(".can-fold")) box.dispatchEvent(new CustomEvent("rd-fold", { detail: open }));
  for (const details of root.querySelectorAll("details.opening")) details.open = open;
}

/** A taken turn. `tools`: buttons that appear on hover and focus. `repeats`: the earlier turn it only repeats. `instead`: {trial, action} that the trial before did here. */
export function turnElement(turn, { trial, before = 0, repeats = null, instead = null, tools = [] } = {}) {
  const who = WHO[turn.author] ?? "planner";
  const changed = turn.reward !== before;
  return h("article", { class: `turn by-${who}`, id: `t${trial}-${turn.index}`, tabindex: "-1", "aria-label": `Turn ${turn.index} of trial ${trial}` },
    h("div", { class: "index" }, String(turn.index)),
    h("div", { class: "said" },
      turn.thought ? foldable(turn.thought, { class: "thought" }) : null,
      h("div", { class: "action" }, sign(who, `${who}:`), h("code", {}, turn.action || "(no action)"),
        turn.author === "human" ? h("span", { class: "chip human" }, turn.edited_from ? "edited by a person" : "forced by a person") : null,
        turn.is_malformed ? h("span", { class: "chip failure" }, "✕ no readable action") : null,
        repeats ? h("span", { class: "chip repeat", title: "The same action with the same answer: nothing was learned" }, `↻ repeats turn ${repeats}`) : null,
        instead ? h("span", { class: "chip instead", title: "The first turn that differs from the trial before" }, `≠ trial ${instead.trial} did: ${instead.action}`) : null),
      turn.edited_from ? h("details", { class: "was" }, h("summary", {}, "what the planner wrote"), h("pre", {}, turn.edited_from)) : null,
      seenElement(turn)),
    h("div", { class: "side" }, changed ? rewardChip(turn.reward) : null, tools.length ? h("div", { class: "tools" }, tools) : null));
}

function seenElement(turn) {
  const box = foldable(turn.observation, { class: `seen ${turn.is_valid || turn.is_malformed ? "" : "not-valid"}` });
  box.prepend(...sign("environment", "Observation:"));
  return box;
}

/** What the environment says before the first turn. */
export function openingElement(trial) {
  return h("details", { class: "opening" },
    h("summary", {}, "Opening and prompt"),
    h("div", { class: "seen" }, trial.opening),
    trial.prompt ? h("details", { class: "prompt" }, h("summary", {}, "The whole prompt of the planner"), h("pre", {}, trial.prompt)) : null);
}

export function rewardChip(reward, word = "reward") {
  const who = reward >= 1 ? "success" : reward > 0 ? "" : "failure";
  return h("span", { class: `chip ${who}` }, `${word} ${number(reward)}`);
}

/** "gain +1", green or red, or what it is waiting for. */
export function gainBadge(reflection) {
  if (reflection.gain === null || reflection.gain === undefined) return h("span", { class: "gain waiting", title: "Reward of the next trial minus reward of the last" }, "gain after the next trial");
  const who = reflection.gain > 0 ? "success" : reflection.gain < 0 ? "failure" : "even";
  return h("span", { class: `gain ${who}`, title: `After trial ${reflection.after_trial + 1}: its reward minus that of trial ${reflection.after_trial}` }, `gain ${signed(reflection.gain)}`);
}

const READS = { reflexion: "reads reflections", last_attempt: "reads its last attempt", both: "reads both", none: "reads nothing of before" };

/** How an episode was played: "temperature 0 · seed 7 · reads reflections". */
export const settingsWords = ({ temperature, seed, strategy }) => `temperature ${number(temperature)} · seed ${seed} · ${READS[strategy] ?? String(strategy).replace("_", " ")}`;

const AUTHOR = { reflector: "by the reflector", human: "by a person", expert: "by the scripted expert" };

/** The words between two trials. `note`: what came of them. */
export function reflectionElement(reflection, { tools = [], note = null, level = "h3" } = {}) {
  const who = reflection.author === "human" ? "human" : reflection.author === "expert" ? "expert" : "reflector";
  return h("section", { class: "reflection", "aria-label": `Reflection after trial ${reflection.after_trial}` },
    h("header", {}, h(level, {}, sign("reflector"), "Reflection"),
      h("span", { class: `author ${who}` }, who === "reflector" ? null : sign(who), AUTHOR[reflection.author] ?? reflection.author),
      gainBadge(reflection)),
    h("blockquote", { class: reflection.text.trim() ? "" : "dim" }, reflection.text.trim() ? reflection.text : "None: the next trial starts without it."),
    reflection.edited_from !== null && reflection.edited_from !== undefined
      ? h("details", { class: "was" }, h("summary", {}, "what the reflector wrote"), h("pre", {}, reflection.edited_from)) : null,
    note, tools.length ? h("div", { class: "tools row" }, tools) : null);
}

/** How a trial stands: ["success" | "failure" | "running", sign, word]. */
export function outcome(trial) {
  if (trial.stop_reason === null || trial.stop_reason === undefined) return ["running", "●", "running"];
  return trial.success ? ["success", "✓", "solved"] : ["failure", "✕", "failed"];
}

// Two episodes of the same task beside each other: what each did, trial by trial.

import { get, id } from "./api.js";
import { button, fill, h, number, plural, reason } from "./dom.js";
import { foldAll, outcome, reflectionElement, turnElement } from "./turns.js";

export async function drawPair(element, before, after, { onClose }) {
  fill(element, h("p", { class: "dim" }, "Loading both episodes …"));
  const [first, second] = await Promise.all([before, after].map((one) => get(`/episodes/${id(one)}`)));
  const board = h("div", { class: "pair-board" }, column(first, "Before"), column(second, "After"));
  fill(element, h("div", { class: "tools row" }, h("h1", { class: "task" }, first.task.instruction), button("Back to the report", onClose), button("Expand all", () => foldAll(board, true), { class: "quiet" })), board);
}

function column(episode, word) {
  const last = episode.trials.at(-1);
  const [who, mark, state] = last ? outcome(last) : ["environment", "?", "no trial"];
  return h("section", { class: `column ${who}`, "aria-label": word },
    h("header", { class: "column-head" }, h("h2", {}, `${word}: ${mark} ${state}`), h("p", { class: "dim small" }, `● ${episode.planner} · ◆ ${episode.reflector} · ${plural(episode.trials.length, "trial")} · `, h("a", { href: `/episodes?episode=${id(episode.id)}` }, "open"))),
    episode.trials.map((trial) => [
      h("h3", {}, `Trial ${trial.index}: ${trial.success ? "✓ solved" : `✕ ${reason(trial.stop_reason)}`}, reward ${number(trial.reward)}`),
      trial.turns.map((turn, index) => turnElement(turn, { trial: `${word}-${trial.index}`, before: trial.turns[index - 1]?.reward ?? 0 })),
      episode.reflections.filter((one) => one.after_trial === trial.index).map((one) => reflectionElement(one, { level: "h3" }))]));
}

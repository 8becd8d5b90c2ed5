// Who has the memory of this machine: the engine, the run at work, and what the one asks of the other.

import { id } from "./api.js";
import { fill, h } from "./dom.js";
import { loadLine } from "./load.js";

const PLANS = { share: ["Shared", "training and serving use it at the same time"], pause: ["Taken in turns", "the engine is paused while this run trains, and serves again after it"] };

/** Who has the memory: the device, what holds it, and what the run at work (or next) asks of the engine. */
export function planCard() {
  const load = loadLine();
  const words = h("p", {});
  const steps = h("ol", { class: "plan-steps small" });
  const element = h("section", { class: "plan-card panel", "aria-label": "Memory" }, h("h2", {}, "Memory"), load.element, words, steps);
  function show(status, machine, rows) {
    const row = rows.find(({ run }) => run.kind === "train" && ["running", "stalled", "cancelling"].includes(run.state)) ?? rows.find(({ run, position }) => run.kind === "train" && position === 0);
    load.show(machine, row?.run.id);
    const plan = row?.run.config.memory ?? "share";
    const [title, meaning] = PLANS[plan];
    const key = `${row?.run.id} ${row?.run.state} ${plan} ${status.engine.state}`;
    if (element.dataset.key === key) return;
    element.dataset.key = key;
    fill(words, row ? [h("strong", {}, title), `: ${meaning}. `, h("a", { href: `/train?run=${id(row.run.id)}` }, row.run.name || row.run.id)] : `Nothing trains. The form of a run says whether the engine shares ${machine.room.device} with it or is paused.`);
    const trains = row?.run.state === "running" && status.engine.state !== "pausing";
    const at = status.engine.state === "pausing" ? 0 : trains ? 1 : status.engine.state === "paused" ? 0 : -1;
    fill(steps, row && plan === "pause" ? ["the engine finishes its requests and lets go", "the run trains", "the engine serves again"].map((step, index) => h("li", { "aria-current": index === at ? "step" : null }, step)) : null);
  }
  return { element, show };
}

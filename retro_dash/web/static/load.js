// The load of the machine as one line of words with small bars.

import { h, keyed, setText } from "./dom.js";
import { bytes } from "./metrics.js";

/** Returns {element, show}. `show({machine, room}, runId)`; nothing hides it. */
export function loadLine() {
  const element = h("ul", { class: "machine-load small tabular", "aria-label": "Load of this machine", hidden: true });

  function show(state, runId) {
    element.hidden = !state;
    if (!state) return;
    const { machine, room } = state;
    const parts = [
      { key: "cpu", share: machine.cpu_share, text: `processor ${percent(machine.cpu_share)} of ${machine.cores} cores` },
      { key: "memory", share: machine.memory_used / machine.memory_total, text: `memory ${bytes(machine.memory_used)} of ${bytes(machine.memory_total)}` },
      ...machine.gpus.map((gpu, index) => ({ key: `gpu${index}`, share: gpu.memory_used / gpu.memory_total, text: `${gpu.name}${gpu.busy_share === null ? "" : ` ${percent(gpu.busy_share)} busy`}, ${bytes(gpu.memory_used)} of ${bytes(gpu.memory_total)}` })),
      runId && room.workers[runId] ? { key: "run", share: room.workers[runId] / room.total, text: `this run ${bytes(room.workers[runId])}` } : null,
      room.engine ? { key: "engine", share: room.engine / room.total, text: `engine ${bytes(room.engine)}` } : null,
    ].filter(Boolean);
    keyed(element, parts, (part) => part.key, () => h("li", {}, h("b", { "aria-hidden": "true" }, h("i", {})), h("span", {})), (item, part) => {
      item.querySelector("i").style.width = percent(Math.min(1, part.share)).replace(" ", "");
      item.classList.toggle("tight", part.share > 0.9);
      setText(item.lastChild, part.text);
    });
  }

  return { element, show };
}

const percent = (share) => `${Math.round(share * 100)} %`;

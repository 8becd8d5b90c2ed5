// Which method a training run uses, and after which preset.

import { fill, h, keyed, setText } from "./dom.js";
import { labelled } from "./fields.js";

const METHODS = {
  sft: ["Imitation", "Successful trials, and reflections that the next trial proved right."],
  retroact: ["RetroAct", "Policy gradient on sampled trials and reflections, an imitation term beside it."],
  rl_planner: ["RL, planner only", "As RetroAct; the reflector stays."],
  rl_reflector: ["RL, reflector only", "As RetroAct; the planner stays."],
  expert_iteration: ["Expert iteration", "Imitation of the policy's own positive rows and of demonstrations."],
  ppo: ["PPO", "Token-level PPO-clip on sampled rows, no demonstrations."],
  retroformer: ["Retroformer", "Rated reflections, a reward model, PPO with KL. The planner is frozen."],
};
const PRESETS = { fixed: "What is right: group baseline, whitening, guarded clip.", paper: "The equations and hyper-parameters as published.", released: "What the released code computes, defects included." };

/** What people call a method. */
export const methodTitle = (method) => METHODS[method]?.[0] ?? method;

/** `onMethod(name)`, `onPreset(name)`; `more`: fields beside the preset. Returns {elements, open(names), show({method, preset})}. */
export function methodStep({ onMethod, onPreset, more }) {
  let names = [];
  const methods = h("div", { class: "methods", role: "radiogroup", "aria-label": "Method" });
  const preset = h("select", { id: "rd-preset", on: { change: () => onPreset(preset.value) } });
  const hint = h("p", { class: "dim small", id: "rd-preset-hint" });
  methods.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = names.indexOf(methods.querySelector("[aria-checked=true]").dataset.method);
    const next = names[(at + by + names.length) % names.length];
    onMethod(next);
    methods.querySelector(`[data-method="${next}"]`).focus();
  });

  function open(known) {
    names = known;
    fill(preset, Object.keys(PRESETS).map((one) => h("option", { value: one }, one)));
  }

  function show(chosen) {
    keyed(methods, names, (method) => method, card, (element, method) => {
      const on = method === chosen.method;
      element.setAttribute("aria-checked", String(on));
      element.tabIndex = on ? 0 : -1;
    });
    preset.value = chosen.preset;
    setText(hint, PRESETS[chosen.preset] ?? "");
  }

  const card = (method) => h("button", { type: "button", role: "radio", class: "method", "data-method": method, on: { click: () => onMethod(method) } },
    h("strong", {}, methodTitle(method)), h("span", { class: "small dim" }, METHODS[method]?.[1] ?? ""));

  return { elements: [methods, h("div", { class: "fields" }, labelled("rd-preset", "Preset", preset, hint), more)], open, show };
}

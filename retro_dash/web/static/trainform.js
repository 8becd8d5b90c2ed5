// The form of a training run, made from the config's own schema: data → method → model → check → start.

import { get, id, post } from "./api.js";
import { dataStep } from "./datastep.js";
import { button, fill, h, keyed, setEnabled, setText } from "./dom.js";
import { fieldOf, resolve, showValue } from "./fields.js";
import { bytes, duration } from "./metrics.js";

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
const MARKS = { ok: ["success", "✓"], note: ["human", "!"], stop: ["failure", "✕"] };
const OUTER = ["method", "preset", "roles", "shared_adapter", "start_adapters"];

/** `onStarted(run)`. Returns {element, open}. */
export function trainForm({ onStarted }) {
  let schema = null;
  let state = fresh();
  let checked = null;
  let asked = 0;
  let timer = 0;
  let key = "";
  const data = dataStep({ onChange: () => change() });
  const methods = h("div", { class: "methods", role: "radiogroup", "aria-label": "Method" });
  const preset = h("select", { id: "rd-preset" });
  const presetHint = h("p", { class: "dim small", id: "rd-preset-hint" });
  const name = h("input", { id: "rd-run-name", maxlength: 200, placeholder: "imitation on solved rooms", autocomplete: "off" });
  const basics = h("div", { class: "fields" });
  const sections = h("div", { class: "sections" });
  const findings = h("ul", { class: "findings", "aria-label": "Findings", "aria-live": "polite" });
  const facts = h("dl", { class: "forecast" });
  const command = h("code", { class: "command-line mono" });
  const toml = h("pre", { class: "mono", tabindex: "0", "aria-label": "The same as a file for the command line" });
  const start = button("Start", submit, { class: "primary wide start" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const step = (number, title, ...content) => h("li", { class: "step" }, h("h2", {}, h("span", { class: "step-number", "aria-hidden": "true" }, number), title), ...content);
  const element = h("section", { class: "train-form", "aria-label": "New run", hidden: true },
    h("ol", { class: "steps" },
      step(1, "Data", data.element),
      step(2, "Method", methods, h("div", { class: "fields" }, labelled("rd-preset", "Preset", preset, presetHint), labelled("rd-run-name", "Name of the run", name))),
      step(3, "Model", basics, h("p", { class: "dim small" }, "Everything else has a value already. Open a group to change one; hints say what it does."), sections)),
    h("aside", { class: "panel check-panel", "aria-label": "Check and start" }, h("h2", {}, "4 · Check"), problem, findings, facts,
      h("h2", {}, "The same on the command line"), command, h("p", { class: "dim small" }, "with this train.toml:"), toml, copyButton(),
      h("h2", {}, "5 · Start"), start));

  methods.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const names = schema.methods;
    const next = names[(names.indexOf(state.train.method) + by + names.length) % names.length];
    choose(next);
    methods.querySelector(`[data-method="${next}"]`).focus();
  });
  preset.addEventListener("change", () => { state.train.preset = preset.value; change(); });
  name.addEventListener("input", () => { state.name = name.value; });

  function fresh() {
    return { name: "", model: null, memory: "share", train: { method: "sft", preset: "fixed" }, exploration: null };
  }

  async function open({ filter, dataset, from }) {
    const wanted = `${filter ?? ""} ${dataset ?? ""} ${from ?? ""}`;
    if (schema && key.startsWith(`${wanted} `)) return;
    key = `${wanted} ${crypto.randomUUID?.() ?? Math.random()}`;
    element.inert = true; // What is pressed while the form is filled would be overwritten.
    try {
      await refill({ filter, dataset, from });
    } finally {
      element.inert = false;
    }
  }

  async function refill({ filter, dataset, from }) {
    schema ??= await get("/train/schema");
    state = fresh();
    const source = from ? await cloneOf(from) : { filter, dataset };
    state.model ??= schema.model;
    name.value = state.name;
    await data.open(source);
    fill(preset, Object.keys(PRESETS).map((one) => h("option", { value: one }, one)));
    await drawFields();
    change(0);
  }

  async function cloneOf(runId) {
    const [run, lineage] = await Promise.all([get(`/runs/${id(runId)}`), get(`/runs/${id(runId)}/lineage`)]);
    const { model, train, exploration, memory } = run.config;
    // The frozen config is complete; only what a person would have typed is worth carrying over.
    const plain = (await post("/train/check", { config: { kind: "train", model, train: { method: train.method, preset: train.preset } }, filter: "id:none" })).config.train;
    state = { name: `${run.name || run.id}, changed`, model, exploration, memory: memory ?? "share", train: { ...differences(plain, train), method: train.method, preset: train.preset } };
    return { filter: lineage.filter ?? "", dataset: lineage.dataset_name ? lineage.dataset_hash : null };
  }

  function choose(method) {
    state.train.method = method;
    showMethods();
    change();
  }

  function showMethods() {
    keyed(methods, schema.methods, (method) => method, (method) => h("button", { type: "button", role: "radio", class: "method", "data-method": method, on: { click: () => choose(method) } },
      h("strong", {}, METHODS[method]?.[0] ?? method), h("span", { class: "small dim" }, METHODS[method]?.[1] ?? "")), (card, method) => {
      const on = method === state.train.method;
      card.setAttribute("aria-checked", String(on));
      card.tabIndex = on ? 0 : -1;
    });
    preset.value = state.train.preset;
    setText(presetHint, PRESETS[state.train.preset] ?? "");
  }

  // Fields

  let inputs = new Map();
  async function drawFields() {
    inputs = new Map();
    const adapters = await get("/adapters").catch(() => []);
    const root = schema.schema;
    const train = resolve(root, root.properties.train);
    const put = (path) => (value) => set(path, value);
    fill(basics,
      labelled("rd-model", "Base model", own(["model"], h("input", { id: "rd-model", class: "mono", value: state.model, on: { change: (event) => { state.model = event.target.value.trim(); change(); } } })), h("p", { class: "dim small" }, "A name in the home's models, or a folder.")),
      ["roles", "shared_adapter"].map((field) => made(["train", field], train.properties[field], put)),
      labelled("rd-memory", "While it trains, the engine", memoryField(), h("p", { class: "dim small" }, "Paused, it gives its memory to the run and serves again when the run has ended; requests in flight finish first.")),
      ["planner", "reflector", "both"].map((role) => startField(role, adapters)));
    const groups = Object.entries(train.properties).filter(([field]) => !OUTER.includes(field));
    fill(sections,
      groups.map(([field, spec]) => {
        const whole = resolve(root, spec);
        return whole.properties ? group(field.replaceAll("_", " "), whole.description, Object.entries(whole.properties).map(([inner, one]) => made(["train", field, inner], one, put))) : null;
      }),
      group("exploration", resolve(root, root.properties.exploration).description, [
        labelled("rd-explore", "Explore between trainings", h("input", { type: "checkbox", id: "rd-explore", checked: Boolean(state.exploration), on: { change: (event) => { state.exploration = event.target.checked ? {} : null; change(); } } })),
        ...Object.entries(resolve(root, root.properties.exploration).properties).map(([inner, one]) => made(["exploration", inner], one, put))]),
      group("seed", "", [made(["train", "seed"], train.properties.seed, put)]));
  }

  function memoryField() {
    const choices = { share: "goes on serving", pause: "is paused" };
    return h("select", { id: "rd-memory", on: { change: (event) => { state.memory = event.target.value; change(); } } }, Object.entries(choices).map(([value, words]) => h("option", { value, selected: state.memory === value }, words)));
  }

  function startField(role, adapters) {
    const fitting = adapters.filter((adapter) => adapter.role === role);
    if (!fitting.length) return null;
    const select = h("select", { id: `rd-start-${role}`, on: { change: (event) => set(["train", "start_adapters", role], event.target.value || undefined) } },
      h("option", { value: "" }, "the base model"), fitting.map((adapter) => h("option", { value: adapter.path, selected: state.train.start_adapters?.[role] === adapter.path }, adapter.name)));
    return labelled(`rd-start-${role}`, `Start the ${role === "both" ? "shared adapter" : role} from`, select);
  }

  function group(title, hint, fields) {
    const changed = h("span", { class: "small human-text" });
    const element = h("details", { class: "section" }, h("summary", {}, h("strong", {}, title), " ", changed), hint ? h("p", { class: "dim small" }, hint) : null, h("div", { class: "fields" }, fields));
    element.__changed = changed;
    return element;
  }

  function made(path, spec, put) {
    const field = fieldOf(schema.schema, spec, `rd-${path.join("-")}`, put(path));
    inputs.set(path.join("."), field);
    const back = button("↺", () => set(path, undefined), { class: "link", title: "Back to the preset's value", "aria-label": `${path.at(-1)}: back to the preset's value`, hidden: true });
    field.back = back;
    return labelled(field.id, path.at(-1).replaceAll("_", " "), [field.input, back], spec.description ? h("p", { class: "dim small" }, spec.description.replaceAll("\n", " ")) : null);
  }

  const own = (path, input) => input;

  function set(path, value) {
    let place = state;
    for (const part of path.slice(0, -1)) place = place[part] ??= {};
    if (value === undefined) delete place[path.at(-1)];
    else place[path.at(-1)] = value;
    change();
  }

  function valueAt(root, path) {
    return path.reduce((place, part) => place?.[part], root);
  }

  // Check

  function change(wait = 350) {
    showMethods();
    data.say(null);
    element.querySelector(".check-panel").setAttribute("aria-busy", "true");
    clearTimeout(timer);
    timer = setTimeout(check, wait);
  }

  const config = () => ({ kind: "train", model: state.model, memory: state.memory, train: state.train, ...(state.exploration ? { exploration: state.exploration } : {}) });

  async function check() {
    const mine = ++asked;
    try {
      const found = await post("/train/check", { config: config(), ...data.chosen() });
      if (mine !== asked) return;
      checked = found;
      data.fail(null);
      showProblem("");
      showCheck(found);
    } catch (error) {
      if (mine !== asked) return;
      checked = null;
      if (/^Position|filter/i.test(error.message)) data.fail(error);
      showProblem(error.message);
      data.say();
      setEnabled(start, false);
    } finally {
      if (mine === asked) element.querySelector(".check-panel").removeAttribute("aria-busy");
    }
  }

  function showCheck({ config: whole, toml: file, command: line_, forecast, findings: found }) {
    data.say(forecast.episodes);
    keyed(findings, found, (one) => one.level + one.text, (one) => h("li", { class: MARKS[one.level][0] }, h("span", { class: "sign", "aria-hidden": "true" }, MARKS[one.level][1]), h("span", { class: "sr" }, one.level === "stop" ? "Stops the run: " : one.level === "note" ? "Note: " : ""), one.text));
    const rows = Object.entries(forecast.rows).map(([kind, many]) => `${many.toLocaleString("en")} ${kind}`).join(", ");
    fill(facts, [["Samples", rows || "none"], ["Tokens", `${forecast.tokens.toLocaleString("en")}, of which ${forecast.trained_tokens.toLocaleString("en")} trained, ${(forecast.tokens - forecast.trained_tokens).toLocaleString("en")} masked`],
      ["Steps", `${forecast.steps.toLocaleString("en")} (${forecast.step_tokens.toLocaleString("en")} tokens)`], ["Time", `about ${duration(forecast.seconds)}`], ["Memory", bytes(forecast.bytes)]].map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
      h("dt", {}, ""), h("dd", { class: "dim" }, "Tokens are recorded ids where there are some, else characters ÷ 4."));
    setText(command, line_);
    setText(toml, file);
    setEnabled(start, !found.some((one) => one.level === "stop") && !starting);
    for (const [path, field] of inputs) {
      const parts = path.split(".");
      const mine = valueAt(state, parts);
      field.back.hidden = mine === undefined;
      field.show(mine ?? valueAt(whole, parts) ?? null);
    }
    for (const section of sections.children) {
      const changed = [...section.querySelectorAll(".button.link:not([hidden])")].length;
      setText(section.__changed, changed ? `✎ ${changed} changed` : "");
    }
  }

  function showProblem(message) {
    problem.hidden = !message;
    setText(problem, message);
  }

  function copyButton() {
    const made_ = button("Copy both", async () => {
      await navigator.clipboard.writeText(`${command.textContent}\n\n# train.toml\n${toml.textContent}`);
      setText(made_, "✓ Copied");
      setTimeout(() => setText(made_, "Copy both"), 1500);
    }, { class: "link" });
    return made_;
  }

  // Start

  let starting = false;
  async function submit() {
    if (starting || !checked) return;
    starting = true;
    setEnabled(start, false);
    setText(start, "Starting …");
    try {
      const run = await post("/runs", { kind: "train", name: state.name || `${METHODS[state.train.method]?.[0] ?? state.train.method}: ${data.words()}`, config: config(), ...data.chosen() }, { "idempotency-key": key });
      key = "";
      onStarted(run);
    } catch (error) {
      showProblem(error.message);
    }
    starting = false;
    setText(start, "Start");
    setEnabled(start, true);
  }

  return { element, open };
}

export function labelled(inputId, text, input, hint = null) {
  return h("div", { class: "field" }, h("label", { for: inputId }, text), h("div", { class: "input-row" }, input), hint);
}

/** What of `whole` differs from `plain`, section by section. */
function differences(plain, whole) {
  const found = {};
  for (const [name, value] of Object.entries(whole)) {
    if (showValue(value) === showValue(plain[name])) continue;
    const isSection = value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(plain[name] ?? {}).length;
    found[name] = isSection ? differences(plain[name], value) : value;
  }
  return found;
}

// The form of a training run: data → method → model → check → start.

import { get, id, post } from "./api.js";
import { checkPanel } from "./checkpanel.js";
import { configFields } from "./configfields.js";
import { dataStep } from "./datastep.js";
import { h } from "./dom.js";
import { labelled, showValue } from "./fields.js";
import { methodStep, methodTitle } from "./methodstep.js";

const CHECK_MS = 350;
const PATIENCE_MS = 3000;

/** `onStarted(run)`. Returns {element, open}. */
export function trainForm({ onStarted }) {
  let schema = null;
  let state = fresh();
  let checked = null;
  let asked = 0;
  let timer = 0;
  let starting = false;
  let key = "";
  const name = h("input", { id: "rd-run-name", maxlength: 200, placeholder: "imitation on solved rooms", autocomplete: "off", on: { input: () => (state.name = name.value) } });
  const data = dataStep({ onChange: () => change() });
  const method = methodStep({
    more: labelled("rd-run-name", "Name of the run", name),
    onMethod: (chosen) => { state.train.method = chosen; change(); }, onPreset: (chosen) => { state.train.preset = chosen; change(); },
  });
  const fields = configFields({ state: () => state, onChange: () => change() });
  const panel = checkPanel({ onStart: submit });
  const step = (number, title, ...content) => h("li", { class: "step" }, h("h2", {}, h("span", { class: "step-number", "aria-hidden": "true" }, number), title), ...content);
  const element = h("section", { class: "train-form", "aria-label": "New run", hidden: true },
    h("ol", { class: "steps" }, step(1, "Data", data.element), step(2, "Method", ...method.elements),
      step(3, "Model", fields.basics, h("p", { class: "dim small" }, "Everything else has a value already. Open a group to change one; hints say what it does."), fields.sections)),
    panel.element);

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
    method.open(schema.methods);
    fields.draw(schema.schema, await get("/adapters").catch(() => []));
    look();
    // The form appears with what the hub says of it, unless that takes long.
    await Promise.race([check(), new Promise((late) => setTimeout(late, PATIENCE_MS))]);
  }

  async function cloneOf(runId) {
    const [run, lineage] = await Promise.all([get(`/runs/${id(runId)}`), get(`/runs/${id(runId)}/lineage`)]);
    const { model, train, exploration, memory } = run.config;
    // The frozen config is complete; only what a person would have typed is worth carrying over.
    const plain = (await post("/train/check", { config: { kind: "train", model, train: { method: train.method, preset: train.preset } }, filter: "id:none" })).config.train;
    state = { name: `${run.name || run.id}, changed`, model, exploration, memory: memory ?? "share", train: { ...differences(plain, train), method: train.method, preset: train.preset } };
    return { filter: lineage.filter ?? "", dataset: lineage.dataset_name ? lineage.dataset_hash : null };
  }

  function look() {
    method.show(state.train);
    data.say(null);
    panel.busy(true);
    clearTimeout(timer);
  }

  function change() {
    look();
    timer = setTimeout(check, CHECK_MS);
  }

  const config = () => ({ kind: "train", model: state.model, memory: state.memory, train: state.train, ...(state.exploration ? { exploration: state.exploration } : {}) });

  async function check() {
    const mine = ++asked;
    try {
      const found = await post("/train/check", { config: config(), ...data.chosen() });
      if (mine !== asked) return;
      checked = found;
      data.fail(null);
      data.say(found.forecast.episodes);
      panel.show(found);
      fields.show(found.config);
    } catch (error) {
      if (mine !== asked) return;
      checked = null;
      if (/^Position|filter/i.test(error.message)) data.fail(error);
      data.say();
      panel.fail(error.message);
    } finally {
      if (mine === asked) panel.busy(false);
    }
  }

  async function submit() {
    if (starting || !checked) return;
    starting = true;
    panel.starting(true);
    try {
      const title = state.name || `${methodTitle(state.train.method)}: ${data.words()}`;
      const run = await post("/runs", { kind: "train", name: title, config: config(), ...data.chosen() }, { "idempotency-key": key });
      key = "";
      onStarted(run);
    } catch (error) {
      panel.problem(error.message);
    }
    starting = false;
    panel.starting(false);
  }

  return { element, open, focus: () => element.querySelector("[role=radio][aria-checked=true]")?.focus() };
}

function fresh() {
  return { name: "", model: null, memory: "share", train: { method: "sft", preset: "fixed" }, exploration: null };
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

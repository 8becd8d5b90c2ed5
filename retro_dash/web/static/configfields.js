// The fields of a training run, made from the config's own schema: what a person set, and what the preset gives.

import { button, fill, h, setText } from "./dom.js";
import { fieldOf, labelled, resolve } from "./fields.js";

const OUTER = ["method", "preset", "roles", "shared_adapter", "start_adapters"];
const ENGINE = { share: "goes on serving", pause: "is paused" };

/** `state()`: {model, memory, train, exploration}, written to in place; `onChange()` then. Returns {basics, sections, draw, show}. */
export function configFields({ state, onChange }) {
  const basics = h("div", { class: "fields" });
  const sections = h("div", { class: "sections" });
  const inputs = new Map();
  let root = null;

  function draw(schema, adapters) {
    root = schema;
    inputs.clear();
    const { properties } = resolve(root, root.properties.train);
    fill(basics,
      labelled("rd-model", "Base model", h("input", { id: "rd-model", class: "mono", value: state().model, on: { change: (event) => put("model", event.target.value.trim()) } }), h("p", { class: "dim small" }, "A name in the home's models, or a folder.")),
      ["roles", "shared_adapter"].map((field) => made(["train", field], properties[field])),
      labelled("rd-memory", "While it trains, the engine", memoryField(), h("p", { class: "dim small" }, "Paused, it gives its memory to the run and serves again when the run has ended; requests in flight finish first.")),
      ["planner", "reflector", "both"].map((role) => startField(role, adapters)));
    const groups = Object.entries(properties).filter(([field]) => !OUTER.includes(field));
    fill(sections, groups.map(([field, spec]) => trainGroup(field, resolve(root, spec))), explorationGroup(resolve(root, root.properties.exploration)), group("seed", "", [made(["train", "seed"], properties.seed)]));
  }

  function trainGroup(field, whole) {
    if (!whole.properties) return null;
    return group(field.replaceAll("_", " "), whole.description, Object.entries(whole.properties).map(([inner, one]) => made(["train", field, inner], one)));
  }

  function explorationGroup(whole) {
    const explores = h("input", { type: "checkbox", id: "rd-explore", checked: Boolean(state().exploration), on: { change: (event) => put("exploration", event.target.checked ? {} : null) } });
    return group("exploration", whole.description, [labelled("rd-explore", "Explore between trainings", explores), ...Object.entries(whole.properties).map(([inner, one]) => made(["exploration", inner], one))]);
  }

  function memoryField() {
    return h("select", { id: "rd-memory", on: { change: (event) => put("memory", event.target.value) } }, Object.entries(ENGINE).map(([value, words]) => h("option", { value, selected: state().memory === value }, words)));
  }

  function startField(role, adapters) {
    const fitting = adapters.filter((adapter) => adapter.role === role);
    if (!fitting.length) return null;
    const select = h("select", { id: `rd-start-${role}`, on: { change: (event) => set(["train", "start_adapters", role], event.target.value || undefined) } },
      h("option", { value: "" }, "the base model"), fitting.map((adapter) => h("option", { value: adapter.path, selected: state().train.start_adapters?.[role] === adapter.path }, adapter.name)));
    return labelled(`rd-start-${role}`, `Start the ${role === "both" ? "shared adapter" : role} from`, select);
  }

  function group(title, hint, fields) {
    const changed = h("span", { class: "small human-text" });
    const element = h("details", { class: "section" }, h("summary", {}, h("strong", {}, title), " ", changed), hint ? h("p", { class: "dim small" }, hint) : null, h("div", { class: "fields" }, fields));
    element.__changed = changed;
    return element;
  }

  function made(path, spec) {
    const field = fieldOf(root, spec, `rd-${path.join("-")}`, (value) => set(path, value));
    inputs.set(path.join("."), field);
    field.back = button("↺", () => set(path, undefined), { class: "link", title: "Back to the preset's value", "aria-label": `${path.at(-1)}: back to the preset's value`, hidden: true });
    return labelled(field.id, path.at(-1).replaceAll("_", " "), [field.input, field.back], spec.description ? h("p", { class: "dim small" }, spec.description.replaceAll("\n", " ")) : null);
  }

  function put(name, value) {
    state()[name] = value;
    onChange();
  }

  function set(path, value) {
    let place = state();
    for (const part of path.slice(0, -1)) place = place[part] ??= {};
    if (value === undefined) delete place[path.at(-1)];
    else place[path.at(-1)] = value;
    onChange();
  }

  /** What every field says: what a person set, else what `whole`, the complete config, has. */
  function show(whole) {
    for (const [path, field] of inputs) {
      const parts = path.split(".");
      const mine = valueAt(state(), parts);
      field.back.hidden = mine === undefined;
      field.show(mine ?? valueAt(whole, parts) ?? null);
    }
    for (const section of sections.children) {
      const changed = [...section.querySelectorAll(".button.link:not([hidden])")].length;
      setText(section.__changed, changed ? `✎ ${changed} changed` : "");
    }
  }

  return { basics, sections, draw, show };
}

const valueAt = (root, path) => path.reduce((place, part) => place?.[part], root);

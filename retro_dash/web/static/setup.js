// What to play: environment, split, task, agents and settings. A task is chosen from the start.

import { get } from "./api.js";
import { button, fill, h, keyed, plural, setText, store } from "./dom.js";

const STRATEGIES = [
  ["reflexion", "Reflections", "The next trial reads the reflections on the failed ones."],
  ["last_attempt", "Last attempt", "The next trial reads the last failed attempt itself."],
  ["both", "Both", "The next trial reads the last attempt and the reflections."],
  ["none", "Nothing", "The next trial starts as if it were the first."],
];
const PAGE = 50;
// What people meet first in each environment: the first trial of those who start there fails, and the reflection leads the second.
const FIRST = { alfworld: "rooms-7-large-0069", hotpotqa: "hotpotqa-valid-7-0016", intercode_sql: "city_library-11", intercode_bash: "bash_server_02" };

/** Draws the picker into `element`. `onStart()` when a new episode is wanted. Returns {settings, task, ready}. */
export function drawSetup(element, { onStart, onChange }) {
  const saved = { env: "alfworld", ...store("play") };
  const chosen = { env: "", split: "", planner: null, reflector: null, strategy: "reflexion", temperature: 0, seed: 7, trial_limit: 3, ...saved, task: null };
  const data = { environments: [], policies: { planners: [], reflectors: [] }, tasks: [], total: 0, query: "" };
  const form = controls(chosen, onStart);
  // What a person picked, and in which environment; the rest follows the environment.
  const picked = { planner: saved.planner ?? null, reflector: saved.reflector ?? null };
  const pickedIn = { ...saved.pickedIn };

  const changed = () => {
    const { task, ...kept } = chosen;
    store("play", { ...kept, ...picked, pickedIn, task_id: task?.id });
    onChange();
  };

  async function loadTasks(wanted) {
    const page = await get("/tasks", { env: chosen.env, split: chosen.split, query: data.query, limit: PAGE });
    data.tasks = page.tasks;
    data.total = page.total;
    showTasks();
    if (wanted === "keep" && chosen.task) return;
    choose((wanted && (await find(wanted))) || page.tasks[0] || null);
    form.tasks.scrollTop = (form.tasks.querySelector("[aria-selected=true]")?.offsetTop ?? 0) - form.tasks.offsetTop;
  }

  // The task by its id; one that is not on this page of the list is put on top.
  async function find(taskId) {
    const known = data.tasks.find((task) => task.id === taskId);
    if (known) return known;
    const page = await get("/tasks", { env: chosen.env, split: chosen.split, query: taskId, limit: 5 });
    const task = page.tasks.find((one) => one.id === taskId);
    if (task) data.tasks = [task, ...data.tasks];
    return task;
  }

  function choose(task) {
    chosen.task = task;
    showTasks();
    changed();
  }

  function showTasks() {
    keyed(form.tasks, data.tasks, (task) => task.id, (task) => h("li", { role: "option", id: `task-${task.id}` },
      h("span", { class: "instruction" }, task.instruction), h("span", { class: "dim small" }, [task.id, ...Object.values(task.metadata_public ?? {}).filter((one) => typeof one === "string").slice(0, 2)].join(" · "))),
      (item, task) => item.setAttribute("aria-selected", String(task.id === chosen.task?.id)));
    const at = data.tasks.findIndex((task) => task.id === chosen.task?.id);
    if (at >= 0) form.tasks.setAttribute("aria-activedescendant", form.tasks.children[at].id);
    else form.tasks.removeAttribute("aria-activedescendant");
    setText(form.count, data.total > data.tasks.length ? `${data.tasks.length} of ${plural(data.total, "task")}; type to narrow` : plural(data.total, "task"));
  }

  function showEnvironments() {
    fill(form.env, data.environments.map((env) => h("option", { value: env.name, disabled: !env.works, selected: env.name === chosen.env }, env.title + (env.works ? "" : " (not here)"))));
    const env = data.environments.find((one) => one.name === chosen.env);
    fill(form.split, (env?.splits ?? []).map((split) => h("option", { value: split, selected: split === chosen.split }, split)));
    const missing = data.environments.filter((one) => !one.works).map((one) => `${one.title}: ${one.detail}`);
    setText(form.envNote, [env?.summary, ...missing].filter(Boolean).join(" "));
  }

  // Who starts in this environment; one that was picked elsewhere and starts in others waits.
  function suits(list, role) {
    const taken = list.find((one) => one.name === picked[role]);
    if (taken && (!taken.envs?.length || taken.envs.includes(chosen.env) || pickedIn[role] === chosen.env)) return taken.name;
    return list.find((one) => one.role === role && one.envs.includes(chosen.env))?.name ?? "expert";
  }

  function showPolicies() {
    for (const [select, list, key] of [[form.planner, data.policies.planners, "planner"], [form.reflector, data.policies.reflectors, "reflector"]]) {
      chosen[key] = suits(list, key);
      const fits = list.filter((one) => !one.role || one.role === key);
      fill(select, fits.map((one) => h("option", { value: one.name, disabled: one.available === false, selected: one.name === chosen[key] }, (one.label || one.name) + (one.available === false ? " (not ready)" : ""))));
    }
    setText(form.strategyNote, STRATEGIES.find(([name]) => name === chosen.strategy)?.[2] ?? "");
  }

  async function random() {
    const offset = Math.floor(Math.random() * Math.max(1, data.total));
    const page = await get("/tasks", { env: chosen.env, split: chosen.split, query: data.query, limit: 1, offset });
    const [task] = page.tasks;
    if (!task) return;
    choose(await find(task.id));
    form.tasks.querySelector("[aria-selected=true]").scrollIntoView({ block: "nearest" });
  }

  form.env.addEventListener("change", () => {
    chosen.env = form.env.value;
    chosen.split = data.environments.find((env) => env.name === chosen.env)?.splits[0] ?? "";
    showEnvironments();
    showPolicies();
    loadTasks(data.query ? null : FIRST[chosen.env]);
  });
  form.split.addEventListener("change", () => {
    chosen.split = form.split.value;
    loadTasks();
  });
  let typing = 0;
  form.query.addEventListener("input", () => {
    clearTimeout(typing);
    data.query = form.query.value;
    typing = setTimeout(() => loadTasks("keep"), 120);
  });
  form.random.addEventListener("click", random);
  form.tasks.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) choose(data.tasks[[...form.tasks.children].indexOf(item)]);
  });
  form.tasks.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !data.tasks.length) return;
    event.preventDefault();
    const at = data.tasks.findIndex((task) => task.id === chosen.task?.id);
    const next = Math.min(data.tasks.length - 1, Math.max(0, at + step));
    choose(data.tasks[next]);
    form.tasks.children[next].scrollIntoView({ block: "nearest" });
  });
  for (const key of ["planner", "reflector", "strategy"]) {
    form[key].addEventListener("change", () => {
      chosen[key] = form[key].value;
      if (key in picked) [picked[key], pickedIn[key]] = [form[key].value, chosen.env];
      showPolicies();
      changed();
    });
  }
  for (const key of ["temperature", "seed", "trial_limit"]) {
    form[key].addEventListener("change", () => {
      if (form[key].checkValidity() && form[key].value !== "") chosen[key] = Number(form[key].value);
      form[key].value = chosen[key];
      changed();
    });
  }

  async function ready() {
    const wanted = new URLSearchParams(location.search);
    [data.environments, data.policies] = await Promise.all([get("/environments"), get("/policies")]);
    const works = (name) => data.environments.some((env) => env.name === name && env.works);
    chosen.env = [wanted.get("env"), chosen.env, data.environments.find((env) => env.works)?.name].find((name) => name && works(name)) ?? "";
    const splits = data.environments.find((env) => env.name === chosen.env)?.splits ?? [];
    chosen.split = [wanted.get("split"), chosen.split, splits[0]].find((split) => splits.includes(split)) ?? "";
    showEnvironments();
    showPolicies();
    if (chosen.env) await loadTasks(wanted.get("task") ?? saved.task_id ?? FIRST[chosen.env]);
    else setText(form.count, "No environment works on this machine. `retro-dash doctor` says why.");
    if (wanted.has("task") && chosen.task?.id !== wanted.get("task")) throw new Error(`There is no task ${wanted.get("task")} in the split ${chosen.split}; another one is chosen.`);
  }

  fill(element, form.element);
  return {
    ready,
    chosen,
    policy: (name) => [...data.policies.planners, ...data.policies.reflectors].find((one) => one.name === name),
    environment: (name) => data.environments.find((one) => one.name === name),
    refreshPolicies: async () => {
      data.policies = await get("/policies");
      showPolicies();
    },
    focus: () => form.query.focus(),
    settings: () => ({ env: chosen.env, split: chosen.split, task_id: chosen.task?.id, planner: chosen.planner, reflector: chosen.reflector,
      strategy: chosen.strategy, temperature: chosen.temperature, seed: chosen.seed, trial_limit: chosen.trial_limit }),
    start: form.start,
  };
}

function controls(chosen, onStart) {
  const select = (name, label) => h("select", { id: `play-${name}`, "aria-label": label });
  const count = (name, min, max, step) => h("input", { id: `play-${name}`, type: "number", min, max, step, value: String(chosen[name]), inputmode: "decimal" });
  const form = {
    env: select("env", "Environment"), split: select("split", "Split"), planner: select("planner", "Planner"), reflector: select("reflector", "Reflector"),
    strategy: select("strategy", "What the next trial is told"), temperature: count("temperature", 0, 2, 0.1), seed: count("seed", 0, 2147483647, 1),
    trial_limit: count("trial_limit", 1, 100, 1), query: h("input", { type: "search", placeholder: "Filter tasks", "aria-label": "Filter tasks" }),
    random: h("button", { type: "button", class: "button" }, "Random"), count: h("p", { class: "dim small" }, "Loading tasks …"),
    tasks: h("ul", { class: "tasks", role: "listbox", "aria-label": "Tasks", tabindex: "0" }),
    envNote: h("p", { class: "dim small" }), strategyNote: h("p", { class: "dim small" }),
    start: button([h("span", {}, "New episode"), h("kbd", {}, "o")], onStart, { class: "wide" }),
  };
  fill(form.strategy, STRATEGIES.map(([value, label]) => h("option", { value, selected: value === chosen.strategy }, label)));
  const field = (label, control, note) => h("div", { class: "field" }, h("label", { for: control.id }, label), control, note);
  form.element = h("div", { class: "setup-form" },
    h("div", { class: "pair" }, field("Environment", form.env), field("Split", form.split)), form.envNote,
    h("div", { class: "finder" }, form.query, form.random), form.tasks, form.count,
    field("Planner", form.planner), field("Reflector", form.reflector),
    field("Next trial is told", form.strategy, form.strategyNote),
    h("div", { class: "triple" }, field("Temperature", form.temperature), field("Seed", form.seed), field("Trials", form.trial_limit)),
    h("div", { class: "setup-end" }, form.start));
  return form;
}

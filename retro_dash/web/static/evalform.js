// The same tasks again: which tasks, which methods, how often.

import { get, id, post } from "./api.js";
import { button, fill, h, plural, setEnabled, setText } from "./dom.js";
import { filterLine } from "./filter.js";
import { labelled } from "./fields.js";

const STRATEGIES = { reflexion: "reflections", last_attempt: "last attempt", both: "both", none: "nothing" };

/** `onStarted(run)`. Returns {element, open}. */
export function evaluationForm({ onStarted }) {
  let arms = [];
  let state = { filter: "", where: "filter" };
  let players = [];
  let key = "";
  const line = filterLine((text) => { state.filter = text; look(); });
  const env = h("select", { id: "rd-eval-env" });
  const where = h("select", { id: "rd-eval-where" }, h("option", { value: "filter" }, "the tasks of stored episodes"), h("option", { value: "dataset" }, "the tasks that a frozen dataset keeps for evaluation"), h("option", { value: "split" }, "bundled tasks of a split"));
  const dataset = h("select", { id: "rd-eval-dataset", on: { change: () => look() } });
  const split = h("select", { id: "rd-eval-split" });
  const count = h("input", { id: "rd-eval-count", type: "number", min: 1, max: 10000, placeholder: "all" });
  const trials = h("input", { id: "rd-eval-trials", type: "number", min: 1, max: 50, value: 3 });
  const seeds = h("input", { id: "rd-eval-seeds", class: "mono", value: "0", title: "Several, comma-separated, repeat every task" });
  const measure = h("select", { id: "rd-eval-measure" }, h("option", { value: "reward" }, "reward"), h("option", { value: "success" }, "success"));
  const name = h("input", { id: "rd-eval-name", maxlength: 200, autocomplete: "off", placeholder: "base against adapters" });
  const found = h("p", { class: "small", role: "status" });
  const list = h("ul", { class: "arms" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const start = button("Start the evaluation", submit, { class: "primary start" });
  const filterBox = h("div", {}, line.element);
  const datasetBox = h("div", { class: "fields" }, labelled("rd-eval-dataset", "Dataset", dataset));
  const splitBox = h("div", { class: "fields" }, labelled("rd-eval-split", "Split", split));
  const element = h("section", { class: "eval-form", "aria-label": "Evaluate", hidden: true },
    h("div", { class: "step" }, h("h2", {}, "Which tasks"), h("div", { class: "fields" }, labelled("rd-eval-env", "Environment", env), labelled("rd-eval-where", "From", where), labelled("rd-eval-count", "How many, drawn with seed 0", count)), filterBox, datasetBox, splitBox, found),
    h("div", { class: "step" }, h("h2", {}, "Which methods"), h("p", { class: "dim" }, "The first is what the others are compared with. Adapters are loaded for the run."), list, h("div", {}, button("+ Another method", () => { arms.push(arm(`method ${arms.length + 1}`, "expert")); drawArms(); }, { class: "chip-button" }))),
    h("div", { class: "step" }, h("h2", {}, "How"), h("div", { class: "fields" }, labelled("rd-eval-trials", "Trials a task", trials), labelled("rd-eval-seeds", "Seeds", seeds), labelled("rd-eval-measure", "Score", measure), labelled("rd-eval-name", "Name", name)), problem, start));
  env.addEventListener("change", () => { drawSplits(); look(); });
  where.addEventListener("change", () => { state.where = where.value; showWhere(); look(); });

  const arm = (title, planner, reflector = planner) => ({ name: title, planner, reflector, strategy: "reflexion", temperature: 0 });
  let environments = [];

  async function open({ filter, dataset: frozen, arms: wanted, like }) {
    key = crypto.randomUUID?.() ?? String(Math.random());
    element.inert = true;
    try {
      await refill({ filter, frozen, wanted, like });
    } finally {
      element.inert = false;
    }
  }

  async function refill({ filter, frozen, wanted, like }) {
    const [policies, adapters, found_, versions, { engine }] = await Promise.all([get("/policies"), get("/adapters/rows"), get("/environments"), get("/datasets"), get("/status")]);
    environments = found_.filter((one) => one.works);
    const base = engine.model ?? "expert";
    const roles = Object.fromEntries([...policies.planners.map((one) => [one.name, one.role]), ...adapters.filter((row) => !row.problem).map((row) => [row.adapter.name, row.adapter.role])]);
    players = Object.entries(roles).map(([name_, role]) => ({ name: name_, role: role === "both" ? null : role }));
    fill(env, environments.map((one) => h("option", { value: one.name }, one.title)));
    get("/filters").then(line.know).catch(() => {});
    state = { filter: filter ?? like?.source.filter ?? "outcome:failed", where: frozen || like?.source.dataset ? "dataset" : like?.source.split ? "split" : "filter" };
    fill(dataset, versions.map((one) => h("option", { value: one.hash, selected: one.hash === (frozen ?? like?.source.dataset) }, `${one.name} · ${one.hash.slice(0, 8)} · ${plural(one.counts.evaluation_tasks ?? 0, "task")}`)));
    where.querySelector("[value=dataset]").disabled = !versions.length;
    arms = like ? like.report.arms.map((one) => ({ ...one.arm })) : suggested(wanted, base, adapters);
    if (like) {
      env.value = like.report.env;
      trials.value = like.report.trials;
      seeds.value = like.report.seeds.join(", ");
      measure.value = like.report.measure;
      count.value = like.source.count ?? "";
      name.value = like.run.name;
    } else await chooseEnvironment();
    where.value = state.where;
    line.set(state.filter);
    drawSplits(like?.source.split);
    showWhere();
    drawArms();
    await look();
  }

  // That of the filter, else of the first episode that it finds.
  async function chooseEnvironment() {
    const [, named] = /(?:^|\s)env:(\w+)/.exec(state.filter) ?? [];
    const wanted = named ?? (await get("/episodes", { filter: state.filter, limit: 1 }).catch(() => null))?.rows[0]?.env;
    if (environments.some((one) => one.name === wanted)) env.value = wanted;
  }

  // "" is the base model; a planner's and a reflector's adapter of one run make one method.
  function suggested(wanted, base, adapters) {
    const newest = adapters.filter((row) => row.adapter.run_id === adapters[0].adapter.run_id).map((row) => row.adapter.name);
    const names = wanted === null ? newest : wanted.split(",");
    const made = names.filter(Boolean).map((one) => adapters.find((row) => row.adapter.name === one)).filter(Boolean);
    const planner = made.find((row) => row.adapter.role !== "reflector")?.adapter.name;
    const reflector = made.find((row) => row.adapter.role !== "planner")?.adapter.name;
    const list_ = [arm("base", base)];
    if (planner && reflector && planner !== reflector) list_.push(arm("planner only", planner, base), arm("reflector only", base, reflector), arm("both", planner, reflector));
    else if (planner || reflector) list_.push(arm(made[0].about || "trained", planner ?? base, reflector ?? base));
    else list_.push(arm("expert", "expert"));
    return list_;
  }

  function drawSplits(chosen) {
    const splits = environments.find((one) => one.name === env.value)?.splits ?? [];
    fill(split, splits.map((one) => h("option", { value: one, selected: one === chosen }, one)));
  }

  function showWhere() {
    filterBox.hidden = state.where !== "filter";
    datasetBox.hidden = state.where !== "dataset";
    splitBox.hidden = state.where !== "split";
  }

  function drawArms() {
    fill(list, arms.map((one, index) => {
      const input = (label, field, element_) => {
        const inputId = `rd-arm-${index}-${field}`;
        element_.id = inputId;
        element_.value = one[field];
        element_.addEventListener("change", () => { one[field] = field === "temperature" ? Number(element_.value) : element_.value; });
        return labelled(inputId, label, element_);
      };
      const pick = (role) => h("select", {}, [...new Set([...players.filter((player) => !player.role || player.role === role).map((player) => player.name), one[role]])].map((player) => h("option", { value: player }, player)));
      return h("li", { class: "arm" }, input("Method", "name", h("input", { maxlength: 100 })), input("● Planner", "planner", pick("planner")), input("◆ Reflector", "reflector", pick("reflector")),
        input("Next trial reads", "strategy", h("select", {}, Object.entries(STRATEGIES).map(([value, text]) => h("option", { value }, text)))), input("Temperature", "temperature", h("input", { type: "number", min: 0, max: 5, step: 0.1 })),
        arms.length > 1 ? button("Remove", () => { arms.splice(index, 1); drawArms(); }, { class: "link", "aria-label": `Remove ${one.name}` }) : null);
    }));
  }

  let asked = 0;
  async function look() {
    const mine = ++asked;
    try {
      if (state.where === "split") {
        const { total } = await get("/tasks", { env: env.value, split: split.value, limit: 1 });
        if (mine === asked) setText(found, `${plural(total, "task")} in this split.`);
        return;
      }
      if (state.where === "dataset") {
        const { version } = await get(`/datasets/${id(dataset.value)}`);
        const many = version.counts.evaluation_tasks ?? 0;
        if (mine === asked) setText(found, `${plural(many, "task")} kept for evaluation; those of the environment above are played.`);
        return setEnabled(start, many > 0);
      }
      const whole = `${state.filter} ${/(^|\s)env:/.test(state.filter) ? "" : `env:${env.value}`}`.trim();
      const page = await get("/episodes", { filter: whole, limit: 1 });
      if (mine !== asked) return;
      line.fail(null);
      setText(found, `${plural(page.total, "episode")} of this environment match; each of their tasks is played once a method and seed.`);
      setEnabled(start, page.total > 0);
    } catch (error) {
      if (mine === asked) line.fail(error);
    }
  }

  async function submit() {
    problem.hidden = true;
    setEnabled(start, false);
    setText(start, "Queueing …");
    const config = { kind: "evaluate", env: env.value, arms, trials: Number(trials.value), seeds: seeds.value.split(",").map((one) => Number(one.trim())), measure: measure.value };
    const tasks = { split: { split: split.value }, dataset: { dataset: dataset.value }, filter: { filter: state.filter } }[state.where];
    try {
      onStarted(await post("/runs", { kind: "evaluate", name: name.value || arms.map((one) => one.name).join(" against "), config, count: count.value ? Number(count.value) : null, ...tasks }, { "idempotency-key": key }));
    } catch (error) {
      problem.hidden = false;
      setText(problem, error.message);
    }
    setText(start, "Start the evaluation");
    setEnabled(start, true);
  }

  return { element, open };
}

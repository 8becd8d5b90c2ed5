// Serving: the engine, what it serves, every adapter with where it came from and what it scored.

import { get, id, post } from "../api.js";
import { age, button, fill, h, keyed, number, plural, setEnabled, setText, sign, signed, store } from "../dom.js";
import { bind } from "../keys.js";
import { loadLine } from "../load.js";
import { bytes } from "../metrics.js";
import { labelled } from "../trainform.js";

const REFRESH_MS = 2000;
const STATE = { ready: ["success", "●", "ready"], starting: ["human", "◌", "starting"], restarting: ["human", "◌", "restarting"], pausing: ["human", "◍", "making room"], paused: ["human", "◫", "paused"], stopped: ["environment", "○", "stopped"], failed: ["failure", "✕", "failed"] };
const HELP = {
  stopped: ["No engine runs, so no model can play. Scripted experts, stored episodes, curation and training work without one.", "retro-dash web --engine embedded"],
  failed: ["The engine could not be kept running. Its log says why; nothing that was played is lost.", "retro-dash doctor"],
};
const ROLES = { planner: ["planner"], reflector: ["reflector"], both: ["planner", "reflector"] };

export async function draw(frame) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const engine = engineCard();
  const list = h("ul", { class: "adapters" });
  const empty = h("div", { class: "empty-state", hidden: true },
    h("p", {}, h("strong", {}, "No adapters yet.")), h("p", {}, "A training run publishes one for the planner and one for the reflector. They are offered here the moment they are whole."),
    h("a", { class: "button primary", href: "/train?new=1" }, "Train one"));
  const plan = planCard();
  const importer = importForm({ onDone: (adapter) => { frame.say(`${adapter.name} was imported`); refresh(); } });
  fill(frame.main, problem, h("div", { class: "serving-page" },
    h("section", { class: "adapter-list", "aria-labelledby": "rd-adapters" }, h("h1", { id: "rd-adapters" }, "Adapters"), list, empty),
    h("div", { class: "serving-side" }, engine.element, plan.element, importer)));
  frame.crumbs({ text: "Serving" });
  document.title = "Serving · Retro Dash";
  bind("j ArrowDown", "Next adapter", () => step(1));
  bind("k ArrowUp", "Previous adapter", () => step(-1));
  bind("l", "Load or unload the adapter under the focus", () => document.activeElement.closest(".adapter")?.querySelector(".load").click());
  bind("i", "Import an adapter from a folder", () => { importer.open = true; importer.querySelector("input").focus(); });

  const wanted = new URLSearchParams(location.search).get("adapter");
  const busy = new Map();
  let served = [];
  let status = null;
  let scrolled = false;

  function step(by) {
    const cards = [...list.children];
    const at = cards.indexOf(document.activeElement.closest(".adapter"));
    cards[Math.min(cards.length - 1, Math.max(0, at < 0 ? 0 : at + by))]?.querySelector("h2 a").focus();
  }

  async function press(name, verb) {
    busy.set(name, verb);
    show();
    try {
      status = await post(`/adapters/${id(name)}/${verb}`);
      frame.say(`${name} is ${verb === "load" ? "loaded" : "unloaded"}`);
      say("");
    } catch (error) {
      say(error.message);
    }
    busy.delete(name);
    await refresh().catch(() => {});
  }

  function choose(name, role) {
    store("play", { ...store("play"), [role]: name });
    frame.say(`${name} is the ${role} on the Play page`);
    show();
  }

  function say(message) {
    problem.hidden = !message;
    setText(problem, message);
  }

  let rows = null;
  function show() {
    engine.show(status);
    if (!rows) return;
    empty.hidden = rows.length > 0;
    keyed(list, rows, (row) => row.adapter.name, (row) => adapterCard(row, { press, choose }), (card, row) => card.__update(row, { served, status, busy: busy.get(row.adapter.name), chosen: store("play") ?? {} }));
    const target = wanted && !scrolled && [...list.children].find((card) => card.dataset.name === wanted);
    if (target) {
      scrolled = true;
      target.scrollIntoView({ block: "center" });
      target.querySelector("h2 a").focus({ preventScroll: true });
    }
  }

  async function refresh() {
    let machine, runs;
    [status, rows, machine, runs] = await Promise.all([get("/status"), get("/adapters/rows"), get("/machine"), get("/runs/rows")]);
    plan.show(status, machine, runs);
    served = status.engine.state === "ready" ? status.engine.load?.adapters ?? (await get("/policies")).planners.filter((one) => one.available).map((one) => one.name) : [];
    show();
  }

  let timer = 0;
  async function watch() {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      await refresh();
      if (problem.dataset.lost) say("");
      delete problem.dataset.lost;
    } catch (error) {
      problem.dataset.lost = "1";
      say(error.message);
    }
    timer = setTimeout(watch, REFRESH_MS);
  }
  document.addEventListener("visibilitychange", watch);
  await watch();
}

function engineCard() {
  const state = h("span", { class: "chip" });
  const model = h("strong", { class: "mono" });
  const detail = h("p", { class: "dim" });
  const help = h("div", { class: "notice human", hidden: true });
  const facts = h("dl", { class: "engine-facts" });
  const history = [];
  const element = h("section", { class: "engine-card panel", "aria-label": "Engine" }, h("div", { class: "run-title" }, h("h2", {}, "Engine"), state, model), detail, help, facts);
  function show(status) {
    if (!status) return;
    const { engine } = status;
    const [who, mark, word] = STATE[engine.state] ?? ["environment", "?", engine.state];
    state.className = `chip ${who}`;
    setText(state, `${mark} ${word}`);
    setText(model, engine.model ?? "no model");
    setText(detail, [engine.detail, engine.url].filter(Boolean).join(" · "));
    const [sentence, command] = HELP[engine.state] ?? [];
    help.hidden = !sentence;
    if (sentence && help.dataset.key !== engine.state) {
      help.dataset.key = engine.state;
      fill(help, h("p", {}, sentence), h("p", {}, h("code", {}, command)));
    }
    const load = engine.load ?? {};
    if (load.tokens_per_second !== undefined) history.push(load.tokens_per_second);
    if (history.length > 60) history.shift();
    const known = [["Tokens per second", load.tokens_per_second === undefined ? null : Math.round(load.tokens_per_second).toLocaleString("en")], ["Running", load.running], ["Waiting", load.waiting],
      ["Cached tokens", load.kv_cache_tokens?.toLocaleString("en")], ["Cache", load.kv_cache_bytes === undefined ? null : bytes(load.kv_cache_bytes)],
      ["Prompt tokens from cache", load.prefix_hit_rate === undefined ? null : `${Math.round(load.prefix_hit_rate * 100)} %`], ["Weights", load.dtype && `${load.dtype} on ${load.device}`], ["Copies in memory", load.loaded_copies?.length]];
    fill(facts, known.filter(([, value]) => value !== null && value !== undefined).map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", { class: "tabular" }, String(value)))));
  }
  return { element, show };
}

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

function adapterCard(first, { press, choose }) {
  const { adapter } = first;
  const role = ROLES[adapter.role][0];
  const state = h("span", { class: "chip" });
  const load = button("Load", () => press(adapter.name, load.dataset.verb), { class: "load primary" });
  const defaults = ROLES[adapter.role].map((one) => [one, button(`Default ${one}`, () => choose(adapter.name, one), { class: "default", title: `The Play page starts with it as ${one}` })]);
  const scores = h("div", { class: "scores small" });
  const trouble = h("p", { class: "small human-text", hidden: true });
  const lineage = h("p", { class: "small lineage" },
    first.is_bundled ? h("span", {}, "ships with Retro Dash") : first.filter ? h("a", { href: `/episodes?${new URLSearchParams({ filter: first.filter })}` }, `✎ ${first.filter}`) : adapter.run_id ? h("span", {}, adapter.run_id.startsWith("import") ? "imported" : "all episodes") : h("span", {}, "imported"),
    first.dataset_name ? h("a", { href: `/curate?dataset=${id(first.dataset_hash)}` }, `dataset ${first.dataset_name}`) : first.dataset_hash ? h("span", {}, `dataset ${first.dataset_hash.slice(0, 8)}`) : null,
    adapter.run_id && !adapter.run_id.startsWith("import") ? h("a", { href: `/train?run=${id(adapter.run_id)}` }, `run ${first.run_name}${first.about ? ` (${first.about})` : ""}`) : null,
    h("span", {}, adapter.is_full_weights ? "full weights" : `LoRA on ${adapter.base_model}`), h("span", {}, `${age(adapter.created_at)} ago`));
  const card = h("li", { class: "adapter", "data-name": adapter.name },
    h("div", { class: "adapter-head" }, h("h2", {}, sign(role, `${adapter.role}:`), h("a", { class: "mono", href: `/serving?adapter=${id(adapter.name)}` }, adapter.name)), state),
    lineage, trouble, scores,
    h("div", { class: "tools row" }, load, defaults.map(([, one]) => one),
      h("a", { class: "button quiet", href: `/results?${new URLSearchParams({ new: "1", arms: `,${adapter.name}`, ...(first.filter ? { filter: first.filter } : {}) })}` }, "Test on the same tasks")));
  card.__update = (row, { served, status, busy, chosen }) => {
    const on = served.includes(adapter.name);
    const ready = status?.engine.state === "ready";
    state.className = `chip ${on ? "success" : row.problem ? "failure" : ""}`;
    setText(state, busy ? `◌ ${busy === "load" ? "loading" : "unloading"} …` : on ? "● served" : row.problem ? "✕ cannot be served" : "○ not loaded");
    load.dataset.verb = on ? "unload" : "load";
    setText(load, on ? "Unload" : "Load");
    load.classList.toggle("primary", !on);
    setEnabled(load, ready && !busy && (on || !row.problem));
    load.title = ready ? (on ? "Requests in flight finish" : "The engine serves it by its name, beside the base") : "The engine is not ready";
    for (const [one, pressed] of defaults) {
      const is = chosen[one] === adapter.name;
      setText(pressed, `${is ? "✓ Default" : "Make default"} ${one}`);
      pressed.setAttribute("aria-pressed", String(is));
    }
    trouble.hidden = !row.problem;
    setText(trouble, row.problem ?? "");
    const key = JSON.stringify(row.scores);
    if (scores.dataset.key !== key) {
      scores.dataset.key = key;
      fill(scores, row.scores.length ? row.scores.slice(0, 4).map((score) => h("a", { class: "chip", href: `/results?run=${id(score.run_id)}` }, `${score.env} ${score.arm}: ${number(score.final * 100)}`, score.difference === null ? null : h("span", { class: score.difference > 0 ? "up" : score.difference < 0 ? "down" : "dim" }, ` ${signed(score.difference * 100)}`))) : h("span", { class: "dim" }, "Not evaluated yet."));
    }
  };
  return card;
}

function importForm({ onDone }) {
  const folder = h("input", { id: "rd-import-folder", class: "mono", required: true, placeholder: "/path/to/peft/folder" });
  const name = h("input", { id: "rd-import-name", class: "mono", required: true, placeholder: "planner@theirs" });
  const role = h("select", { id: "rd-import-role" }, Object.keys(ROLES).map((one) => h("option", { value: one }, one)));
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const send = h("button", { type: "submit", class: "button primary" }, "Import");
  const form = h("form", { class: "fields", on: { submit: async (event) => {
    event.preventDefault();
    setText(send, "Copying …");
    problem.hidden = true;
    try {
      onDone(await post("/adapters/import", { folder: folder.value.trim(), name: name.value.trim(), role: role.value }));
      form.reset();
    } catch (error) {
      problem.hidden = false;
      setText(problem, error.message);
    }
    setText(send, "Import");
  } } }, labelled("rd-import-folder", "Folder on this machine", folder), labelled("rd-import-name", "Name", name), labelled("rd-import-role", "Role", role), h("div", { class: "field" }, send));
  return h("details", { class: "step importer" }, h("summary", {}, "Import an adapter from a folder"), h("p", { class: "dim small" }, "A PEFT folder of safetensors for the base model that the engine serves. It is copied into the home."), problem, form);
}

// One run: its state and verbs, its curves, the rollouts of that moment, its log, and the config it was frozen with.

import { get, getText, id } from "./api.js";
import { chartBoard } from "./charts.js";
import { fill, h, keyed, setText } from "./dom.js";
import { loadLine } from "./load.js";
import { duration } from "./metrics.js";
import { rolloutList } from "./rollouts.js";
import { ENDED, lineageParts, runTitle, STATES } from "./runs.js";
import { runVerbs } from "./runverbs.js";

const POINTS = 600;

/** `onClone(run)`, `onOpen(run)` for a run that goes on from this one, `onProblem(message)`. Returns {element, open, refresh}. */
export function runView({ frame, onClone, onOpen, onProblem, onChanged }) {
  const title = h("h1", {});
  const state = h("span", { class: "run-state" });
  const facts = h("p", { class: "dim small" });
  const failure = h("p", { class: "problem", role: "alert", hidden: true });
  const worries = h("ul", { class: "alerts", "aria-label": "Alerts" });
  const made = h("p", { class: "made", hidden: true });
  const verbs = runVerbs({ frame, onClone, onOpen, onProblem, onPressed: (words) => setText(state, words), onChanged: (run) => { current = run; showHead(); onChanged(); } });
  const load = loadLine();
  const rollouts = rolloutList({ frame, onProblem });
  const charts = chartBoard({ onPoint: showMoment });
  const log = h("pre", { class: "log mono", tabindex: "0", "aria-label": "Last lines of the log" });
  const config = h("pre", { class: "mono config" });
  const element = h("section", { class: "run-view", "aria-label": "Run", inert: true, hidden: true },
    h("header", { class: "run-head" }, h("div", { class: "run-title" }, title, state), verbs.element),
    facts, load.element, failure, made, worries, charts.element,
    h("div", { class: "run-below" },
      rollouts.element,
      h("section", { "aria-label": "Log" }, h("h2", {}, "Log"), log),
      h("details", { class: "frozen" }, h("summary", {}, "Config, frozen when the run was made"), config)));
  charts.element.addEventListener("rd-wanted", () => refreshCurves());

  let current = null;
  let overlays = [];
  let names = [];
  let tick = 0;
  let asked = 0;

  async function open(runId, over) {
    const mine = ++asked;
    if (current?.id !== runId) {
      current = null;
      names = [];
      tick = 0;
      fill(worries).__byKey = undefined;
      setText(log, "");
      setText(config, "");
      charts.show([]);
    }
    overlays = over;
    const run = await get(`/runs/${id(runId)}`);
    if (mine !== asked) return;
    current = run;
    rollouts.open(run);
    showHead();
    setText(config, JSON.stringify(run.config, null, 2));
    // The first one appears whole, so that nothing which comes later pushes it about.
    await refresh(true).finally(() => (element.inert = false));
  }

  /** Bring everything up to date; what can't change any more is left alone. */
  async function refresh(whole = false) {
    if (!current) return;
    const mine = asked;
    const before = current.state;
    if (!ENDED.has(current.state) || whole) current = await get(`/runs/${id(current.id)}`);
    if (mine !== asked) return;
    const alive = !ENDED.has(current.state) || before !== current.state;
    rollouts.open(current);
    showHead();
    if (!alive && !whole && overlays.length === 0) return;
    const slow = whole || before !== current.state || tick++ % 3 === 0;
    await Promise.all([refreshCurves(slow), refreshLoad(), ...(slow ? [rollouts.refresh(), refreshLog(), refreshLineage(), refreshAlerts()] : [])]);
  }

  async function refreshCurves(withNames = false) {
    const run = current;
    if (!run) return;
    if (withNames || !names.length) {
      const found = (await get(`/runs/${id(run.id)}/curves`, { max_points: 2 })).map((curve) => curve.name);
      if (run.id !== current?.id) return;
      if (found.join() !== names.join()) {
        names = found;
        charts.learn(run, names);
      } else if (withNames) charts.learn(run, names);
    }
    const wanted = charts.wanted();
    const closeUps = charts.closeUps();
    const ask = (runId, these, more = []) => (these.length ? get(`/runs/${id(runId)}/curves?${new URLSearchParams([...these.map((name) => ["name", name]), ["max_points", POINTS], ...more])}`) : []);
    const read = async (runId) => {
      const [whole, ...near] = await Promise.all([ask(runId, wanted), ...closeUps.map(({ names: these, start, stop }) => ask(runId, these, [["start", start], ["stop", stop]]))]);
      return near.flat().reduce(refined, whole);
    };
    const others = await Promise.all(overlays.map(async (runId) => ({ run: await get(`/runs/${id(runId)}`), curves: await read(runId) })));
    const curves = await read(run.id);
    if (run.id !== current?.id) return;
    charts.show([{ run: current, curves }, ...others]);
  }

  async function refreshLoad() {
    const runId = current.id;
    const machine = ENDED.has(current.state) ? null : await get("/machine");
    if (runId === current?.id) load.show(machine, runId);
  }

  async function refreshAlerts() {
    const runId = current.id;
    const found = await get(`/runs/${id(runId)}/alerts`);
    if (runId !== current?.id) return;
    keyed(worries, found, (text) => text, (text) => h("li", { class: "notice human", role: "status" }, h("span", { class: "sign human", "aria-hidden": "true" }, "!"), text));
  }

  async function refreshLog() {
    const runId = current.id;
    const text = await getText(`/runs/${id(runId)}/log?lines=200`);
    const chosen = getSelection();
    // Somebody who is copying lines wants them to stay where they are.
    if (runId !== current?.id || (!chosen.isCollapsed && log.contains(chosen.anchorNode))) return;
    const atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 30;
    setText(log, text || "The worker has not written anything yet.");
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  async function refreshLineage() {
    const runId = current.id;
    const lineage = await get(`/runs/${id(runId)}/lineage`);
    if (runId !== current?.id) return;
    frame.crumbs({ text: "Runs", href: "/train" }, ...lineageParts(lineage));
    const { adapters } = lineage;
    made.hidden = !adapters.length;
    if (made.dataset.key !== adapters.join()) {
      made.dataset.key = adapters.join();
      fill(made, h("span", { class: "sign success", "aria-hidden": "true" }, "✓"), "Published: ", adapters.map((name, index) => [index ? ", " : "", h("a", { href: `/serving?adapter=${id(name)}` }, name)]), ". ", h("a", { href: `/serving?adapter=${id(adapters[0])}` }, "Serve it"), " · ", h("a", { href: `/results?${new URLSearchParams({ new: "1", arms: ["", ...adapters].join(",") })}` }, "Test it on the same tasks"));
    }
  }

  function showMoment(point) {
    if (point.run !== current?.id) return void (location.href = `/train?run=${id(point.run)}`);
    rollouts.showMoment(point).catch((error) => onProblem(error.message));
  }

  // Head

  function showHead() {
    const run = current;
    const [who, mark, word] = STATES[run.state] ?? ["environment", "?", run.state];
    setText(title, runTitle(run));
    state.className = `run-state chip ${who}`;
    setText(state, `${mark} ${word}`);
    const passed = run.started_at ? (Date.parse(run.finished_at ?? new Date().toISOString()) - Date.parse(run.started_at)) / 1000 : null;
    setText(facts, [run.id, run.kind, run.config.train?.method, run.config.train && `preset ${run.config.train.preset}`, run.config.model, passed === null ? "not started" : `${duration(passed)} ${run.finished_at ? "in all" : "so far"}`].filter(Boolean).join(" · "));
    failure.hidden = !(run.error && run.state === "failed");
    setText(failure, run.error ?? "");
    verbs.show(run);
    document.title = `${runTitle(run)} · Train · Retro Dash`;
  }

  return { element, open, refresh, stop: verbs.stop, extend: verbs.extend, run: () => current };
}

/** The curves with the close-up of one of them in its place. */
function refined(curves, near) {
  return curves.map((curve) => {
    if (curve.name !== near.name || !near.steps.length) return curve;
    const from = curve.steps.findIndex((step) => step >= near.steps[0]);
    const behind = curve.steps.findIndex((step) => step > near.steps.at(-1));
    const to = behind < 0 ? curve.steps.length : behind;
    const joined = (key) => [...curve[key].slice(0, from < 0 ? to : from), ...near[key], ...curve[key].slice(to)];
    return { ...curve, steps: joined("steps"), values: joined("values"), times: joined("times") };
  });
}

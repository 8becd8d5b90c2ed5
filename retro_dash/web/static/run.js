// One run: its state and verbs, its curves, the rollouts of that moment, its log, and the config it was frozen with.

import { get, getText, id, post } from "./api.js";
import { chartBoard } from "./charts.js";
import { age, button, fill, h, keyed, number, plural, setEnabled, setText } from "./dom.js";
import { trialChips } from "./list.js";
import { alerts, duration } from "./metrics.js";
import { ENDED, lineageParts, runTitle, STATES } from "./runs.js";

const POINTS = 600;
const ROLLOUTS = 40;

/** `onClone(run)`, `onProblem(message)`. Returns {element, open, refresh}. */
export function runView({ frame, onClone, onProblem, onChanged }) {
  const title = h("h1", {});
  const state = h("span", { class: "run-state" });
  const facts = h("p", { class: "dim small" });
  const failure = h("p", { class: "problem", role: "alert", hidden: true });
  const worries = h("ul", { class: "alerts", "aria-label": "Alerts" });
  const made = h("p", { class: "made", hidden: true });
  const verbs = {
    stop: button(["Save and stop ", h("kbd", {}, "X")], () => act("stop"), { title: "Write a checkpoint and end; Resume goes on from there" }),
    resume: button("Resume", () => act("resume"), { title: "Go on from the newest checkpoint" }),
    clone: button(["Clone and change ", h("kbd", {}, "C")], () => current && onClone(current), { title: "A new run with this one's settings, to change" }),
  };
  const charts = chartBoard({ onPoint: (point) => showMoment(point) });
  const rolloutsTitle = h("h2", {}, "Rollouts");
  const rolloutsNote = h("p", { class: "dim small" });
  const rollouts = h("ul", { class: "rollouts" });
  const now = button("Back to the newest", () => { moment = null; refreshRollouts(); }, { class: "link", hidden: true });
  const byTrial = h("div", { class: "by-trial", hidden: true });
  const log = h("pre", { class: "log mono", tabindex: "0", "aria-label": "Last lines of the log" });
  const config = h("pre", { class: "mono config" });
  const element = h("section", { class: "run-view", "aria-label": "Run" },
    h("header", { class: "run-head" }, h("div", { class: "run-title" }, title, state), h("div", { class: "tools row" }, Object.values(verbs))),
    facts, failure, made, worries, charts.element,
    h("div", { class: "run-below" },
      h("section", { class: "run-rollouts", "aria-label": "Rollouts" }, h("div", { class: "tools row" }, rolloutsTitle, now), rolloutsNote, byTrial, rollouts),
      h("section", { "aria-label": "Log" }, h("h2", {}, "Log"), log),
      h("details", { class: "frozen" }, h("summary", {}, "Config, frozen when the run was made"), config)));
  charts.element.addEventListener("rd-wanted", () => refreshCurves());

  let current = null;
  let overlays = [];
  let names = [];
  let moment = null;
  let tick = 0;
  let asked = 0;

  async function open(runId, over) {
    const mine = ++asked;
    if (current?.id !== runId) {
      current = null;
      moment = null;
      names = [];
      tick = 0;
      fill(rollouts).__byKey = undefined;
      setText(log, "");
      setText(config, "");
      charts.show([]);
    }
    overlays = over;
    const run = await get(`/runs/${id(runId)}`);
    if (mine !== asked) return;
    current = run;
    showHead();
    setText(config, JSON.stringify(run.config, null, 2));
    await refresh(true);
  }

  /** Bring everything up to date; what can't change any more is left alone. */
  async function refresh(whole = false) {
    if (!current) return;
    const mine = asked;
    const before = current.state;
    if (!ENDED.has(current.state) || whole) current = await get(`/runs/${id(current.id)}`);
    if (mine !== asked) return;
    const alive = !ENDED.has(current.state) || before !== current.state;
    showHead();
    if (!alive && !whole && overlays.length === 0) return;
    const slow = whole || before !== current.state || tick++ % 3 === 0;
    await Promise.all([refreshCurves(slow), slow ? refreshRollouts() : null, slow ? refreshLog() : null, slow ? refreshLineage() : null]);
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
    const read = (runId) => (wanted.length ? get(`/runs/${id(runId)}/curves?${new URLSearchParams([...wanted.map((name) => ["name", name]), ["max_points", POINTS]])}`) : []);
    const others = await Promise.all(overlays.map(async (runId) => ({ run: await get(`/runs/${id(runId)}`), curves: await read(runId) })));
    const curves = await read(run.id);
    if (run.id !== current?.id) return;
    charts.show([{ run: current, curves }, ...others]);
    showAlerts(curves);
  }

  async function refreshLog() {
    const runId = current.id;
    const text = await getText(`/runs/${id(runId)}/log?lines=200`);
    if (runId !== current?.id) return;
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

  // Rollouts

  async function refreshRollouts() {
    const runId = current.id;
    const page = await get("/episodes", { filter: `run:${runId}`, limit: 300 });
    if (runId !== current?.id) return;
    if (page.total) showEpisodes(page);
    else await showDataset(runId);
  }

  function showEpisodes(page) {
    const chosen = moment ? page.rows.filter((row) => Math.abs(Date.parse(row.created_at) / 1000 - moment.time) <= moment.width) : page.rows;
    const rows = (chosen.length ? chosen : moment ? nearest(page.rows, moment.time) : page.rows).slice(0, ROLLOUTS);
    setText(rolloutsTitle, moment ? `Rollouts around step ${moment.step}` : "Newest rollouts");
    setText(rolloutsNote, `${plural(page.total, "episode")} played by this run.`);
    now.hidden = !moment;
    keyed(rollouts, rows, (row) => `${row.id} ${row.state} ${row.trials.length}`, (row) => h("li", {}, trialChips(row.trials), h("a", { href: `/episodes?episode=${id(row.id)}` }, row.instruction || row.task_id), h("span", { class: "dim small" }, `${age(row.created_at)} ago`)));
    showByTrial(page.rows);
  }

  // An offline run plays nothing: what stands behind every point is its frozen dataset.
  async function showDataset(runId) {
    if (rollouts.dataset.of === runId && rollouts.children.length) return;
    const items = await get(`/runs/${id(runId)}/dataset`, { limit: ROLLOUTS });
    if (runId !== current?.id) return;
    rollouts.dataset.of = runId;
    byTrial.hidden = true;
    now.hidden = true;
    setText(rolloutsTitle, current.kind === "train" ? "Trained on" : "Tasks to play");
    setText(rolloutsNote, current.kind === "train" ? "This run plays nothing itself: every step learns from these frozen episodes." : "No episode yet.");
    keyed(rollouts, items, (item) => item.episode_id ?? item.task_id, (item) => h("li", {},
      item.solved === null ? null : h("span", { class: item.solved ? "sign success" : "sign failure", title: item.solved ? "solved" : "failed" }, item.solved ? "✓" : "✕"),
      item.episode_id ? h("a", { href: `/episodes?episode=${id(item.episode_id)}` }, item.instruction) : h("span", {}, item.instruction), h("span", { class: "dim small" }, `${item.env} ${item.split}`)));
  }

  function showMoment(point) {
    if (point.run !== current?.id) return void (location.href = `/train?run=${id(point.run)}`);
    moment = { ...point, width: 20 };
    refreshRollouts().then(() => {
      rollouts.querySelector("a")?.focus({ preventScroll: true });
      element.querySelector(".run-rollouts").scrollIntoView({ block: "nearest" });
      frame.say(`Episodes behind step ${point.step}`);
    }).catch((error) => onProblem(error.message));
  }

  function showByTrial(rows) {
    const ended = rows.filter((row) => row.state !== "running" && row.trials.length);
    const most = Math.max(0, ...ended.map((row) => row.trials.length));
    byTrial.hidden = !ended.length;
    const shares = Array.from({ length: most }, (_, index) => ended.filter((row) => row.trials.slice(0, index + 1).some((trial) => trial.success)).length / ended.length);
    fill(byTrial, h("span", { class: "small dim" }, "Solved by trial"), shares.map((share, index) => {
      const bar = h("i", {});
      bar.style.height = `${Math.round(share * 100)}%`;
      return h("span", { class: "bar", title: `${number(share * 100)} % solved after trial ${index + 1}` }, h("b", {}, bar), h("span", { class: "small tabular" }, `${Math.round(share * 100)}`), h("span", { class: "sr" }, `percent after trial ${index + 1}`));
    }));
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
    failure.hidden = !(run.error && ["failed", "stalled"].includes(run.state));
    setText(failure, run.error ?? "");
    setEnabled(verbs.stop, !ENDED.has(run.state) && run.state !== "cancelling");
    setText(verbs.stop.firstChild, run.state === "queued" ? "Take out of the queue " : "Save and stop ");
    verbs.resume.hidden = !["failed", "cancelled"].includes(run.state);
    document.title = `${runTitle(run)} · Train · Retro Dash`;
  }

  function showAlerts(curves) {
    keyed(worries, current.state === "finished" ? alerts(current, curves).slice(0, 3) : alerts(current, curves), (text) => text, (text) => h("li", { class: "notice human", role: "status" }, h("span", { class: "sign", "aria-hidden": "true" }, "!"), text));
  }

  async function act(verb) {
    if (!current) return;
    const pressed = verbs[verb];
    pressed.classList.add("pressed");
    setEnabled(pressed, false);
    setText(state, verb === "stop" ? "◍ stopping …" : "◌ queueing …");
    try {
      current = await post(`/runs/${id(current.id)}/${verb === "stop" ? "cancel" : "resume"}`);
      frame.say(verb === "stop" ? "The run saves and ends" : "The run is queued again");
      onChanged();
    } catch (error) {
      onProblem(error.message);
    }
    pressed.classList.remove("pressed");
    showHead();
  }

  return { element, open, refresh, stop: () => verbs.stop.click(), run: () => current };
}

const nearest = (rows, time) => [...rows].sort((a, b) => Math.abs(Date.parse(a.created_at) / 1000 - time) - Math.abs(Date.parse(b.created_at) / 1000 - time)).slice(0, 8);

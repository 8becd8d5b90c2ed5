// Train: the runs, one of them with its live curves, or the form that starts a new one. The address says which.

import { getPage, id, post } from "../api.js";
import { button, fill, h, setText } from "../dom.js";
import { bind } from "../keys.js";
import { runView } from "../run.js";
import { ENDED, runList } from "../runs.js";
import { trainForm } from "../trainform.js";

const REFRESH_MS = 1500;

export async function draw(frame) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const list = runList({ onOpen: (run) => go({ run }), onMove: move, onOverlay: overlay });
  const view = runView({ frame, onProblem: say, onChanged: () => refresh(), onClone: (run) => go({ new: 1, from: run.id }), onOpen: (run) => go({ run: run.id, with: run.parent_id }) });
  const form = trainForm({ onStarted: (run) => go({ run: run.id }) });
  const empty = h("div", { class: "empty-state", hidden: true },
    h("p", {}, h("strong", {}, "Nothing was trained yet.")),
    h("p", {}, "A run turns chosen episodes into adapters: imitation of what worked, then reinforcement from what the agent tried. Its curves, its rollouts and its log appear here while it works."),
    button("Train on your episodes", () => go({ new: 1 }), { class: "primary" }));
  const start = button(["New run ", h("kbd", {}, "N")], () => go({ new: 1 }), { class: "primary wide" });
  const older = button("Show older runs", () => more().catch((error) => say(error.message)), { class: "wide", hidden: true });
  const none = h("p", { class: "dim small runs-none", hidden: true }, "None yet.");
  // It appears with the list of runs, so that this pushes nothing about.
  const page = h("div", { class: "train-page", inert: true },
    h("aside", { class: "panel runs-panel", "aria-label": "Runs" }, h("a", { class: "skip", href: "#rd-run" }, "Past the list of runs"), start, h("h2", {}, "Runs"), list.element, older, none),
    h("div", { class: "train-main", id: "rd-run", tabindex: "-1" }, problem, view.element, form.element, empty));
  fill(frame.main, page);

  bind("n", "New run", () => go({ new: 1 }).then(form.focus));
  bind("j ArrowDown", "Next run", () => step(1), () => !isForm());
  bind("k ArrowUp", "Previous run", () => step(-1), () => !isForm());
  bind("Shift+K", "The selected run sooner in the queue", () => shift(-1));
  bind("Shift+J", "The selected run later in the queue", () => shift(1));
  bind("o", "Draw the selected run over another one", () => shiftOverlay());
  bind("x", "Save and stop the run", () => view.stop(), () => !isForm());
  bind("e", "Extend the finished run", () => view.extend(), () => !isForm());
  bind("c", "Clone the run and change it", () => view.run() && go({ new: 1, from: view.run().id }), () => !isForm());
  bind("Escape", "Leave the form", () => go({}), () => isForm());

  const address = () => new URLSearchParams(location.search);
  const isForm = () => address().has("new") || address().has("dataset");
  const overlays = () => (address().get("with") ?? "").split(",").filter(Boolean);

  function go(parameters, replace = false) {
    const text = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
    history[replace ? "replaceState" : "pushState"](null, "", text ? `/train?${text}` : "/train");
    return show();
  }

  function overlay(run, on) {
    const now = overlays().filter((one) => one !== run);
    go({ run: view.run()?.id, with: (on ? [...now, run] : now).join(",") }, true);
  }

  function shiftOverlay() {
    const next = list.neighbour(1);
    if (next && next !== view.run()?.id) overlay(next, !overlays().includes(next));
  }

  const step = (by) => {
    const next = list.neighbour(by);
    if (next) go({ run: next }, true);
  };

  function shift(by) {
    const row = list.row(address().get("run") ?? view.run()?.id);
    if (row?.position !== null && row) move(row.run.id, row.position + by);
  }

  async function move(run, position) {
    try {
      await post(`/runs/${id(run)}/move`, { position: Math.max(0, position) });
      frame.say(`Place ${Math.max(0, position) + 1} in the queue`);
      await refresh();
    } catch (error) {
      say(error.message);
    }
  }

  function say(message) {
    if (message) page.inert = false;
    problem.hidden = !message;
    setText(problem, message);
  }

  // The newest runs are asked for again and again; an ended one that was seen is kept, for it stays as it is.
  let rows = null;
  let next;
  const ended = new Map();
  async function load() {
    const page = await getPage("/runs/rows");
    keep(page.rows);
    const newest = new Set(page.rows.map((row) => row.run.id));
    rows = [...page.rows, ...[...ended.values()].filter((row) => !newest.has(row.run.id)).sort(byAge)];
    if (next === undefined) next = page.next;
    older.hidden = next === null;
  }

  async function more() {
    const page = await getPage(`/runs/rows${next}`);
    keep(page.rows);
    next = page.next;
    await refresh(false);
  }

  function keep(found) {
    for (const row of found) if (ENDED.has(row.run.state)) ended.set(row.run.id, row);
  }

  async function show() {
    say("");
    const wanted = address();
    form.element.hidden = !isForm();
    if (isForm()) {
      view.element.hidden = empty.hidden = true;
      frame.crumbs({ text: "Runs", href: "/train" }, { text: "New run" });
      document.title = "New run · Train · Retro Dash";
      const opened = form.open({ filter: wanted.get("filter"), dataset: wanted.get("dataset"), from: wanted.get("from") });
      await Promise.all([opened, refresh(false).then(() => (page.inert = false))]);
      return;
    }
    if (!rows) await load();
    const run = wanted.get("run") ?? (rows.find((row) => row.position === null && !ENDED.has(row.run.state)) ?? rows[0])?.run.id;
    view.element.hidden = !run;
    empty.hidden = Boolean(run);
    if (!run) frame.crumbs({ text: "Runs" });
    list.show(rows, run, overlays());
    none.hidden = rows.length > 0;
    page.inert = false;
    try {
      if (run) await view.open(run, overlays());
    } catch (error) {
      view.element.hidden = true;
      say(error.message);
    }
  }

  async function refresh(withView = true) {
    await load();
    const current = isForm() ? null : address().get("run") ?? view.run()?.id ?? rows[0]?.run.id;
    list.show(rows, current, overlays());
    none.hidden = rows.length > 0;
    if (withView && current && !view.element.hidden) await view.refresh();
    else if (withView && current && !empty.hidden) await show();
  }

  let timer = 0;
  async function watch() {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      await refresh(!isForm());
      if (problem.dataset.lost) say("");
      delete problem.dataset.lost;
    } catch (error) {
      if (error.status === 0) {
        problem.dataset.lost = "1";
        say(error.message);
      }
    }
    timer = setTimeout(watch, REFRESH_MS);
  }

  document.addEventListener("visibilitychange", watch);
  addEventListener("popstate", show);
  await show().catch((error) => say(error.message));
  timer = setTimeout(watch, REFRESH_MS);
}

const byAge = (a, b) => b.run.created_at.localeCompare(a.run.created_at) || a.run.id.localeCompare(b.run.id);

// The episodes beside a run's curves: the newest, those of a moment, or what a training step learned from.

import { get, id } from "./api.js";
import { age, button, fill, h, keyed, number, plural, setText, sign } from "./dom.js";
import { trialChips } from "./list.js";

const SHOWN = 40;
const WIDTH_SECONDS = 20;

/** Returns {element, open, refresh, showMoment}. */
export function rolloutList({ frame, onProblem }) {
  const title = h("h2", {}, "Rollouts");
  const note = h("p", { class: "dim small" });
  const list = h("ul", { class: "rollouts", "aria-label": "Episodes" });
  const back = button("Back to the newest", () => { moment = null; refresh().catch((error) => onProblem(error.message)); }, { class: "link", hidden: true });
  const byTrial = h("div", { class: "by-trial", hidden: true });
  const element = h("section", { class: "run-rollouts", "aria-label": "Rollouts" }, h("div", { class: "tools row" }, title, back), note, byTrial, list);
  let run = null;
  let moment = null;

  /** Another run is shown from now on. */
  function open(next) {
    if (run?.id !== next?.id) {
      moment = null;
      fill(list).__byKey = undefined;
      delete list.dataset.of;
    }
    run = next;
  }

  async function refresh() {
    const mine = run;
    if (!mine || moment?.samples) return;
    const page = await get("/episodes", { filter: `run:${mine.id}`, limit: 300 });
    if (mine.id !== run?.id || moment?.samples) return;
    if (page.total) showEpisodes(page);
    else await showDataset(mine);
  }

  /** What stands behind a point of a curve. */
  async function showMoment(point) {
    const samples = run.kind === "train" ? await get(`/runs/${id(run.id)}/steps/${point.step}`, { metric: point.metric }) : [];
    moment = { ...point, samples: samples.length ? samples : null };
    if (samples.length) showSamples(samples);
    else await refresh();
    list.querySelector("a")?.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
    frame.say(`Episodes behind step ${point.step}`);
  }

  function showSamples(samples) {
    const job = moment.metric.replace(/\/[^/]*$/, "");
    delete list.dataset.of;
    byTrial.hidden = true;
    back.hidden = false;
    setText(title, `Behind step ${moment.step} of ${job}`);
    setText(note, `The ${plural(samples.length, "sample")} that this step learned from.`);
    keyed(list, samples, (one) => `${one.episode_id} ${one.part} ${one.number}`, (one) => h("li", {}, outcome(one.solved), sign(one.part === "trial" ? "planner" : "reflector", one.part),
      h("a", { href: `/episodes?${new URLSearchParams({ episode: one.episode_id, ...(one.part === "trial" && { trial: one.number }) })}` }, one.instruction || one.episode_id), h("span", { class: "dim small" }, one.part === "trial" ? `trial ${one.number}` : `reflection after trial ${one.number}`)));
  }

  function showEpisodes(page) {
    const near = moment ? page.rows.filter((row) => Math.abs(secondsOf(row) - moment.time) <= WIDTH_SECONDS) : page.rows;
    const rows = (near.length ? near : nearest(page.rows, moment.time)).slice(0, SHOWN);
    delete list.dataset.of;
    setText(title, moment ? `Rollouts around step ${moment.step}` : "Newest rollouts");
    setText(note, `${plural(page.total, "episode")} played by this run.`);
    back.hidden = !moment;
    keyed(list, rows, (row) => `${row.id} ${row.state} ${row.trials.length}`, (row) => h("li", {}, trialChips(row.trials), h("a", { href: `/episodes?episode=${id(row.id)}` }, row.instruction || row.task_id), h("span", { class: "dim small" }, `${age(row.created_at)} ago`)));
    showByTrial(page.rows);
  }

  // An offline run plays nothing: what it learns from is its frozen dataset.
  async function showDataset(mine) {
    if (list.dataset.of === mine.id && list.children.length) return;
    const items = await get(`/runs/${id(mine.id)}/dataset`, { limit: SHOWN });
    if (mine.id !== run?.id || moment?.samples) return;
    list.dataset.of = mine.id;
    byTrial.hidden = true;
    back.hidden = true;
    setText(title, mine.kind === "train" ? "Trained on" : "Tasks to play");
    setText(note, mine.kind === "train" ? "This run plays nothing itself: its steps learn from these frozen episodes. Press a point of a curve to see those of its step." : "No episode yet.");
    keyed(list, items, (item) => item.episode_id ?? item.task_id, (item) => h("li", {}, outcome(item.solved),
      item.episode_id ? h("a", { href: `/episodes?episode=${id(item.episode_id)}` }, item.instruction) : h("span", {}, item.instruction), h("span", { class: "dim small" }, `${item.env} ${item.split}`)));
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

  return { element, open, refresh, showMoment };
}

const secondsOf = (row) => Date.parse(row.created_at) / 1000;
const nearest = (rows, time) => [...rows].sort((a, b) => Math.abs(secondsOf(a) - time) - Math.abs(secondsOf(b) - time)).slice(0, 8);
const outcome = (solved) => (solved === null ? null : h("span", { class: solved ? "sign success" : "sign failure", title: solved ? "solved" : "failed" }, solved ? "✓" : "✕"));

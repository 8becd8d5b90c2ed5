// What a training run learns from: stored episodes by a filter, or a frozen dataset with its labels.

import { get } from "./api.js";
import { age, button, fill, h, plural, setText } from "./dom.js";
import { filterLine } from "./filter.js";

const QUICK = [["Solved", "outcome:solved"], ["A reflection helped", "gain>0"], ["By models", "-planner:expert"], ["Expert verdict", "label:expert"], ["All", ""]];

/** `onChange()` when another choice was made. Returns {element, open, chosen, words, say, fail}. */
export function dataStep({ onChange }) {
  let state = { filter: "outcome:solved", dataset: null };
  let versions = [];
  const line = filterLine((text) => { state.filter = text; onChange(); });
  const count = h("p", { class: "small", role: "status" });
  const quick = h("div", { class: "chips" });
  const pick = h("select", { id: "rd-dataset", on: { change: () => choose(pick.value) } });
  const about = h("p", { class: "small" });
  const ways = h("div", { class: "chips", role: "radiogroup", "aria-label": "Where episodes come from" });
  const byFilter = h("div", { class: "data-way" }, line.element, quick);
  const byDataset = h("div", { class: "data-way", hidden: true }, h("div", { class: "field" }, h("label", { for: "rd-dataset" }, "Frozen dataset"), pick), about);
  const element = h("div", { class: "data-step" },
    h("p", { class: "dim" }, "Episodes of a filter as they are now, or a dataset that was frozen in Curate: its rewrites and verdicts are applied, and the tasks that it keeps for evaluation are left out. Either way they are frozen into the run."),
    ways, byFilter, byDataset, count);
  fill(quick, QUICK.map(([label, text]) => button(label, () => { state.filter = text; line.set(text); onChange(); }, { class: "chip-button" })));
  ways.addEventListener("keydown", (event) => {
    if (!/^Arrow/.test(event.key)) return;
    event.preventDefault();
    choose(state.dataset === null ? versions[0]?.hash ?? null : null);
    ways.querySelector("[aria-checked=true]").focus();
  });

  /** Either may be null: then what was there stays, or the usual. */
  async function open({ filter, dataset }) {
    get("/filters").then(line.know).catch(() => {});
    versions = (await get("/datasets")).sort((a, b) => b.created_at.localeCompare(a.created_at));
    state = { filter: filter ?? "outcome:solved", dataset: null };
    line.set(state.filter);
    const full = dataset && versions.find((one) => one.hash.startsWith(dataset));
    // A hash that is not there is left for the check to refuse, in the hub's own words.
    state.dataset = dataset ? full?.hash ?? dataset : null;
    show();
  }

  function choose(hash) {
    if (hash === state.dataset) return;
    state.dataset = hash;
    show();
    onChange();
  }

  function show() {
    const isFrozen = state.dataset !== null;
    const way = (label, on, hash) => h("button", { type: "button", role: "radio", class: "button chip-button", "aria-checked": String(on), tabindex: on ? "0" : "-1", disabled: hash === undefined, on: { click: () => choose(hash) } }, label);
    fill(ways, way("Stored episodes", !isFrozen, null), way(versions.length ? `A frozen dataset (${versions.length})` : "A frozen dataset: none yet", isFrozen, isFrozen ? state.dataset : versions[0]?.hash));
    byFilter.hidden = isFrozen;
    byDataset.hidden = !isFrozen;
    if (!isFrozen) return;
    fill(pick, versions.map((one) => h("option", { value: one.hash, selected: one.hash === state.dataset }, `${one.name} · ${one.hash.slice(0, 8)} · ${(one.counts.training_episodes ?? one.episode_ids.length).toLocaleString("en")} to train on · ${age(one.created_at)} ago`)));
    const one = versions.find((version) => version.hash === state.dataset);
    if (!one) return void setText(about, `There is no dataset ${state.dataset} here.`);
    const counts = [["training_episodes", "to train on"], ["solved", "solved"], ["reflections", "reflections"], ["labels", "labels"], ["rewrites", "rewrites"], ["evaluation_tasks", "tasks kept for evaluation"]];
    fill(about, h("code", {}, one.filter || "everything"), " · ", counts.filter(([key]) => one.counts[key]).map(([key, word]) => `${one.counts[key].toLocaleString("en")} ${word}`).join(" · "), " · ", h("a", { href: `/curate?dataset=${encodeURIComponent(one.hash)}` }, "open in Curate"));
  }

  const version = () => versions.find((one) => one.hash === state.dataset);
  return {
    element, open,
    /** As the hub's requests name it. */
    chosen: () => (state.dataset === null ? { filter: state.filter } : { dataset: state.dataset }),
    words: () => version()?.name ?? (state.filter || "all episodes"),
    say: (episodes) => setText(count, episodes === null ? "Looking …" : episodes === undefined ? "" : state.dataset === null ? `${plural(episodes, "episode")} match.` : `${plural(episodes, "episode")} to train on, labels applied.`),
    fail: (error) => (state.dataset === null ? line.fail(error) : undefined),
  };
}

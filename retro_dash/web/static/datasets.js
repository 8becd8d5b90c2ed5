// Datasets: what the filter and the labels would train on, frozen into a version, compared, exported, trained on.

import { get, id, post } from "./api.js";
import { age, button, fill, h, keyed, plural, setEnabled, setText } from "./dom.js";

const COUNTS = [["episodes", "episodes"], ["training_episodes", "to train on"], ["evaluation_episodes", "to evaluate on"], ["trials", "trials"], ["turns", "turns"], ["reflections", "reflections"], ["labels", "labels"], ["rewrites", "rewrites"]];
const SEVERITY = { error: ["failure", "✕"], warning: ["human", "!"], note: ["environment", "▸"] };

/** `query()` is the queue's: its filter is what gets frozen. */
export function datasetsPanel({ query, say }) {
  const { filter } = query();
  const name = h("input", { id: "rd-dataset-name", maxlength: 120, value: suggested(filter), autocomplete: "off" });
  const evaluators = h("input", { id: "rd-evaluators", class: "mono", placeholder: "success, no_repeats, reward>=0.5", autocomplete: "off", spellcheck: "false" });
  const share = h("input", { type: "number", id: "rd-dataset-share", min: 0, max: 90, step: 5, value: 10 });
  const known = h("p", { class: "dim small" });
  const loose = h("div", {});
  const result = h("div", { class: "dataset-result", role: "status" });
  const list = h("ul", { class: "versions" });
  const diff = h("div", { class: "dataset-diff", role: "status" });
  const freezing = button("Freeze", () => run(freezing, "Freezing …", freeze), { class: "primary" });
  const checking = button("Check first", () => run(checking, "Reading what would be frozen …", check));
  let chosen = [];
  let exports_ = {};
  let versions = [];

  const request = () => ({ name: name.value.trim() || suggested(filter), filter, evaluators: evaluators.value.split(",").map((one) => one.trim()).filter(Boolean), split: { share: Math.min(90, Math.max(0, Number(share.value) || 0)) / 100 } });

  async function run(pressed, words, work) {
    if (freezing.getAttribute("aria-disabled") === "true") return;
    for (const one of [freezing, checking]) setEnabled(one, false);
    fill(result, h("p", { class: "dim" }, words));
    try {
      await work();
    } catch (problem) {
      fill(result, h("p", { class: "problem", role: "alert" }, problem.message));
    } finally {
      for (const one of [freezing, checking]) setEnabled(one, true);
    }
  }

  async function check() {
    fill(result, lintElement(await post("/datasets/check", request())));
  }

  async function freeze() {
    const version = await post("/datasets", request());
    const details = await get(`/datasets/${id(version.hash)}`);
    fill(result, h("p", { class: "notice success" }, `✓ Frozen as ${version.hash.slice(0, 10)}: ${plural(version.episode_ids.length, "episode")}, ${plural(version.label_ids.length, "label")}.`), lintElement(details.lint));
    say(`Frozen ${version.name}`);
    await show();
  }

  async function show() {
    try {
      versions = (await get("/datasets")).sort((a, b) => b.created_at.localeCompare(a.created_at));
    } catch (problem) {
      return void fill(list, h("li", { class: "problem" }, problem.message));
    }
    if (!versions.length) return void fill(list, h("li", { class: "dim" }, "No version yet. A version is what a run trains on; its hash is that of its content."));
    list.__byKey ?? fill(list);
    keyed(list, versions, (version) => version.hash, versionElement);
  }

  function versionElement(version) {
    const pick = h("input", { type: "checkbox", "aria-label": `Compare ${version.name}` });
    pick.addEventListener("change", () => {
      chosen = pick.checked ? [...chosen, version.hash].slice(-2) : chosen.filter((one) => one !== version.hash);
      for (const other of list.querySelectorAll("input[type=checkbox]")) other.checked = chosen.includes(other.closest("li").dataset.hash);
      compare();
    });
    const more = h("div", {});
    const details = h("details", {}, h("summary", { class: "small" }, "Lint, card and export"), more);
    details.addEventListener("toggle", () => details.open && !more.childElementCount && showMore(version, more));
    return h("li", { "data-hash": version.hash }, h("div", { class: "version-head" }, pick, h("strong", {}, version.name), h("code", { class: "small" }, version.hash.slice(0, 10)), h("span", { class: "dim small" }, `${age(version.created_at)} ago`)),
      h("p", { class: "small" }, h("code", {}, version.filter || "everything")), countsElement(version.counts),
      h("div", { class: "tools row" }, h("a", { class: "button primary", href: `/train?dataset=${id(version.hash)}` }, "Train on it"), version.counts.evaluation_tasks ? h("a", { class: "button", href: `/results?${new URLSearchParams({ new: "1", dataset: version.hash })}` }, "Evaluate on what it keeps") : null), details);
  }

  async function showMore(version, more) {
    fill(more, h("p", { class: "dim small" }, "Reading …"));
    try {
      const details = await get(`/datasets/${id(version.hash)}`);
      fill(more, lintElement(details.lint), h("details", {}, h("summary", { class: "small" }, "Card"), h("pre", { class: "card-text" }, details.card)),
        h("p", { class: "small dim" }, "Export as"), exportsOf({ dataset: version.hash }));
    } catch (problem) {
      fill(more, h("p", { class: "problem" }, problem.message));
    }
  }

  /** `what`: {dataset} or {filter}. */
  function exportsOf(what) {
    return h("div", { class: "chips" }, Object.entries(exports_).map(([format, title]) => h("a", { class: "chip", href: `/api/v1/exports/${id(format)}?${new URLSearchParams(what)}`, download: "", title }, format)));
  }

  async function compare() {
    if (chosen.length < 2) return void fill(diff);
    const [old, now] = [...chosen].sort((a, b) => versions.findIndex((one) => one.hash === b) - versions.findIndex((one) => one.hash === a));
    try {
      fill(diff, diffElement(await get(`/datasets/${id(old)}/diff/${id(now)}`), old, now));
    } catch (problem) {
      fill(diff, h("p", { class: "problem" }, problem.message));
    }
  }

  get("/datasets/evaluators").then((names) => setText(known, `Keeps episodes that pass all of: ${names.join(", ")}.`)).catch(() => {});
  get("/formats").then((formats) => {
    exports_ = formats.export;
    fill(loose, exportsOf({ filter }));
  }).catch(() => {});
  show();
  return h("div", { class: "datasets-panel" },
    h("p", { class: "small" }, "The queue's filter ", h("code", {}, filter || "(everything)"), " with the labels as they stand now. What people discarded is left out."),
    h("div", { class: "field" }, h("label", { for: "rd-dataset-name" }, "Name"), name), h("div", { class: "field" }, h("label", { for: "rd-evaluators" }, "Evaluators"), evaluators, known),
    h("div", { class: "field" }, h("label", { for: "rd-dataset-share" }, "Tasks kept for evaluation, %"), share),
    h("div", { class: "tools row" }, freezing, checking), result, h("details", {}, h("summary", { class: "small" }, "Export the filter as it stands, unfrozen"), loose), h("h3", {}, "Versions"), h("p", { class: "dim small" }, "Tick two to compare them."), diff, list);
}

const suggested = (filter) => `${filter.replace(/[^\w ]+/g, " ").trim().replace(/\s+/g, "-") || "all"}-${new Date().toISOString().slice(0, 10)}`;

function countsElement(counts) {
  return h("p", { class: "small tabular dim" }, COUNTS.filter(([key]) => counts[key]).map(([key, word]) => `${counts[key].toLocaleString("en")} ${word}`).join(" · "));
}

/** What lint found, each problem with links to the first episodes that have it. */
export function lintElement(report) {
  const findings = report.findings ?? [];
  return h("section", { class: "lint", "aria-label": "Lint" },
    h("p", { class: "small dim" }, `${plural(report.texts, "text")} (${report.planner} planner, ${report.reflector} reflector) · ${report.trained.toLocaleString("en")} ${report.unit} trained, ${(report.prompt + report.masked).toLocaleString("en")} shown and masked`),
    findings.length ? h("ul", { class: "lint-list" }, findings.map((finding) => {
      const [who, mark] = SEVERITY[finding.severity] ?? SEVERITY.note;
      return h("li", { class: who }, h("p", {}, h("span", { class: `sign ${who}`, "aria-hidden": "true" }, mark), h("strong", {}, `${finding.count.toLocaleString("en")} × ${finding.kind.replaceAll("_", " ")}`)), h("p", { class: "small" }, finding.meaning),
        h("p", { class: "small" }, [...new Set(finding.examples.map(episodeOf))].slice(0, 6).map((episode, index) => [index ? " " : "", h("a", { href: `/curate?episode=${id(episode)}` }, episode)])));
    })) : h("p", { class: "success" }, h("span", { class: "sign success", "aria-hidden": "true" }, "✓"), "Lint found nothing."));
}

// A text is named after its episode and what of it is shown.
const episodeOf = (text) => text.replace(/\/(trial|reflection)\/\d+$/, "");

function diffElement(found, old, now) {
  const some = (ids) => ids.slice(0, 8).map((one, index) => [index ? " " : "", h("a", { href: `/curate?episode=${id(one)}` }, one)]).concat(ids.length > 8 ? [` and ${ids.length - 8} more`] : []);
  const part = (mark, who, words_, ids) => h("li", {}, h("span", { class: `sign ${who}`, "aria-hidden": "true" }, mark), `${ids.length.toLocaleString("en")} ${words_} `, h("span", { class: "small" }, some(ids)));
  return h("section", { class: "notice", "aria-label": "Difference" }, h("p", {}, "From ", h("code", {}, old.slice(0, 10)), " to ", h("code", {}, now.slice(0, 10))),
    h("ul", {}, part("+", "success", "added", found.added), part("−", "failure", "left out", found.removed), part("≠", "human", "changed", found.changed)),
    Object.keys(found.counts).length ? h("p", { class: "small tabular" }, Object.entries(found.counts).map(([key, [before, after]]) => `${key.replaceAll("_", " ")} ${before} → ${after}`).join(" · ")) : null);
}

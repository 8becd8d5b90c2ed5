// What was sent, as it would be understood.

import { h, plural } from "./dom.js";

/** Episodes of a preview that the store does not have. */
export const freshOf = (seen) => seen.episodes - seen.same - seen.known;

/** `seen`: the hub's preview of an upload. */
export function previewElement(seen) {
  const counts = [["episodes", seen.episodes], ["in it twice", seen.same], ["here already", seen.known], ["trials", seen.trials], ["turns", seen.turns], ["reflections", seen.reflections], ["solved", seen.solved], ["labels", seen.labels], ["dropped", seen.dropped]];
  return h("section", { class: "preview", "aria-label": "What it holds" },
    h("p", {}, h("strong", {}, seen.title), ` · ${plural(seen.rows, "row")}`),
    h("dl", { class: "preview-counts tabular" }, counts.map(([word, count]) => h("div", { class: word === "dropped" && count ? "failure" : "" }, h("dt", {}, word), h("dd", {}, count.toLocaleString("en"))))),
    h("p", { class: "small" }, Object.entries(seen.environments).map(([env, count]) => `${env} ${count.toLocaleString("en")}`).join(" · ")),
    reasons("Dropped, and why", seen.reasons, "failure"), reasons("Understood differently", seen.notes, "human"),
    seen.first_dropped.length ? h("details", {}, h("summary", { class: "small" }, `The first ${seen.first_dropped.length} dropped rows`), h("ul", { class: "dropped" }, seen.first_dropped.map((row) => h("li", { class: "small" }, `row ${row.row}: ${row.reason}`, h("pre", {}, row.excerpt))))) : null);
}

export function reasons(title, counts, who) {
  const entries = Object.entries(counts);
  if (!entries.length) return null;
  return h("div", {}, h("p", { class: "small dim" }, title), h("ul", { class: "small" }, entries.map(([reason, count]) => h("li", { class: who }, h("span", { class: `sign ${who}`, "aria-hidden": "true" }, who === "failure" ? "✕" : "✎"), `${count.toLocaleString("en")} × ${reason}`))));
}

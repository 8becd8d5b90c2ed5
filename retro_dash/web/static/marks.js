// Labels as people see them: signs, words and hues, the same in the bar and on the parts.

import { h } from "./dom.js";

export const VERDICTS = [["expert", "★", "expert"], ["good", "✓", "success"], ["bad", "✕", "failure"], ["discard", "⌀", "environment"]];
export const REWARDS = [[1, "+1"], [0, "0"], [-1, "−1"]];
export const QUALITIES = ["accurate", "actionable", "followed"];

/** [hue, words] of a label's value; null for one that says nothing. */
export function words(name, value) {
  if (value === null || value === undefined) return null;
  if (name === "verdict") {
    const found = VERDICTS.find(([verdict]) => verdict === value);
    return [found?.[2] ?? "environment", `${found?.[1] ?? ""} ${value}`];
  }
  if (name === "step_reward") return [value > 0 ? "success" : value < 0 ? "failure" : "environment", `step ${REWARDS.find(([one]) => one === value)?.[1] ?? value}`];
  if (name === "first_error") return value === 0 ? ["success", "no error"] : ["failure", `! first error: turn ${value}`];
  if (name === "quality") return ["human", QUALITIES.filter((quality) => quality in value).map((quality) => (value[quality] ? `✓ ${quality}` : `✕ not ${quality}`)).join(" · ")];
  if (name === "note") return value.trim() ? ["human", `✎ ${value}`] : null;
  if (name === "rewrite") return ["human", "✎ rewritten"];
  if (name === "adjudication") return ["human", `⚖ decided: ${Object.entries(value).map(([key, final]) => words(key, final)?.[1] ?? key).join(", ")}`];
  if (name === "judgement") return [value.verdict === "good" ? "success" : "failure", `${value.verdict === "good" ? "✓" : "✕"} ${value.verdict} — ${value.reason}`];
  if (name === "preference") return ["human", `A/B: ${{ this: "this one is better", other: "the other is better", tie: "a tie" }[value.winner] ?? value.winner}`];
  return ["human", `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`];
}

/** A label as a chip; `state`: "saved" or "pending"; `by`: whose it is when it is somebody else's. */
export function markChip(name, value, { state = "saved", by = "" } = {}) {
  const said = words(name, value);
  if (!said) return null;
  const [who, text] = said;
  return h("span", { class: `chip mark ${who} ${by ? "theirs" : ""}`, title: by ? `by ${by}` : state === "saved" ? "Saved by the hub" : "Not saved yet" },
    by ? `${by}: ` : "", text, by ? null : h("i", { class: "saved-sign", role: "img", "aria-label": state === "saved" ? "saved" : "not saved yet" }, state === "saved" ? "✓" : "…"));
}

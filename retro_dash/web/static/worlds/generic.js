// Any view, as a tree of names and values.

import { fill, h } from "../dom.js";

export function draw(element, view) {
  fill(element, tree(view, 0));
}

function tree(value, depth) {
  if (value === null || typeof value !== "object") return h("code", {}, String(value));
  const entries = Object.entries(value);
  if (!entries.length) return h("code", { class: "dim" }, Array.isArray(value) ? "[]" : "{}");
  return h("dl", { class: "tree" }, entries.slice(0, 200).map(([name, inner]) => [
    h("dt", {}, name), h("dd", {}, depth < 6 ? tree(inner, depth + 1) : "…")]));
}

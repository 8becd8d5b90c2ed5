// A shell: where it stands, what the commands printed, which files changed.

import { fill, h, keyed, setText } from "../dom.js";

const CHANGE = { added: ["+", "success"], created: ["+", "success"], removed: ["−", "failure"], deleted: ["−", "failure"] };

export function draw(element, view) {
  const parts = element.__bash ?? build(element);
  setText(parts.place, String(view.cwd ?? view.directory ?? "/"));
  const commands = view.history ?? (view.last_command ? [{ command: view.last_command, output: view.last_output }] : []);
  keyed(parts.terminal, commands.map((one, index) => ({ index, ...one })), (one) => one.index,
    (one) => h("div", {}, h("div", { class: "prompt" }, `$ ${one.command ?? ""}`), h("div", {}, String(one.output ?? ""))));
  const changes = changed(view);
  setText(parts.count, String(changes.length));
  keyed(parts.changes, changes, (change) => `${change.kind} ${change.path}`, (change) => {
    const [mark, who] = CHANGE[change.kind] ?? ["~", "human"];
    return h("li", {}, h("span", { class: `sign ${who}`, title: change.kind }, mark), " ", h("code", {}, change.path));
  });
  parts.none.hidden = changes.length > 0;
}

function build(element) {
  const parts = { place: h("code", {}), count: h("span", { class: "dim" }), changes: h("ul", { class: "changes" }),
    terminal: h("div", { class: "terminal scroll", tabindex: "0", role: "region", "aria-label": "Terminal" }),
    none: h("p", { class: "dim small" }, "No file has changed.") };
  fill(element, h("p", {}, "In ", parts.place), parts.terminal, h("h3", {}, "Changed files ", parts.count), parts.changes, parts.none);
  element.__bash = parts;
  return parts;
}

function changed(view) {
  if (Array.isArray(view.changes)) return view.changes.map((one) => (typeof one === "string" ? { kind: "changed", path: one } : { kind: one.kind ?? one.status, path: one.path }));
  return ["added", "changed", "removed"].flatMap((kind) => (view[kind] ?? []).map((path) => ({ kind, path })));
}

// A shell: where it stands, what the last command printed, the tree and what changed in it.

import { fill, h, keyed, number, setText } from "../dom.js";

// What `git status` calls a change: its sign, its colour, and the word for it.
const CHANGES = { "??": ["+", "success", "new"], M: ["~", "human", "changed"], D: ["−", "failure", "deleted"] };
const KINDS = { directory: "/", dir: "/", folder: "/", link: "@" };

export function draw(element, view) {
  const parts = element.__bash ?? build(element);
  setText(parts.folder, view.cwd);
  setText(parts.place, view.image ? ` in a container of ${view.image}` : "");
  parts.unsafe.hidden = !view.unsafe;
  setText(parts.terminal, view.output ?? "");
  parts.terminal.hidden = view.output === null;
  setText(parts.status, view.status === null || view.status === undefined ? "No command ran yet." : `exit status ${view.status}`);
  const changed = view.tree.filter((one) => one.change).length;
  setText(parts.count, `${view.entries} ${view.entries === 1 ? "entry" : "entries"}${changed ? `, ${changed} changed` : ""}`);
  const changesFirst = view.tree.toSorted((one, other) => Boolean(other.change) - Boolean(one.change));
  keyed(parts.tree, changesFirst, (one) => `${one.path} ${one.change}`, createEntry);
  showResult(parts.result, view.result);
}

function build(element) {
  const parts = { folder: h("code", {}), place: h("span", { class: "dim" }), count: h("span", { class: "dim" }), tree: h("ul", { class: "file-tree scroll", tabindex: "0", "aria-label": "Files" }), status: h("p", { class: "dim small" }),
    terminal: h("pre", { class: "terminal scroll", tabindex: "0", role: "region", "aria-label": "Output of the last command" }), result: h("div", {}),
    unsafe: h("p", { class: "problem" }, "Commands run on this machine itself, without a sandbox.") };
  fill(element, parts.unsafe, parts.result, h("p", {}, "In ", parts.folder, parts.place), parts.terminal, parts.status, h("h3", {}, "Files ", parts.count), parts.tree);
  element.__bash = parts;
  return parts;
}

function createEntry(entry) {
  const [mark, who, word] = CHANGES[entry.change] ?? [" ", "environment", "unchanged"];
  return h("li", { class: entry.change ? "changed" : "" }, h("span", { class: `sign ${who}`, title: word }, mark), h("code", {}, entry.path, KINDS[entry.kind] ?? ""), h("span", { class: "dim small" }, ` ${entry.mode}`));
}

function showResult(element, result) {
  const key = JSON.stringify(result);
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  if (!result) return void fill(element);
  const wrong = [["Missing", result.missing], ["Too much", result.extra], ["Wrong content", result.wrong]].filter(([, list]) => list.length);
  fill(element, h("dl", { class: `answer ${result.reward >= 1 ? "success" : "failure"}` }, h("dt", {}, "Reward"),
    h("dd", {}, `${result.reward >= 1 ? "✓" : "✕"} ${number(result.reward)}`),
    h("dt", {}, "of it"), h("dd", {}, `changes ${number(result.changes)}, contents ${number(result.contents)}, output ${number(result.output)}`),
    h("dt", {}, "Right command"), h("dd", {}, h("code", {}, result.gold)), result.gold_output?.trim() ? rightOutput(result.gold_output) : null, wrong.map(([word, list]) => [h("dt", {}, word), h("dd", {}, list.map(difference))])));
}

function rightOutput(text) {
  return [h("dt", {}, "It prints"), h("dd", {}, h("pre", { class: "terminal scroll", tabindex: "0", role: "region", "aria-label": "Output of the right command" }, text))];
}

// "?? /new.txt", a change with its path, or the path alone.
function difference(text) {
  const [, code, path] = /^(\?\?|M|D) (.*)$/s.exec(text) ?? [null, null, text];
  const [mark, who, word] = CHANGES[code] ?? ["≠", "failure", "differs"];
  return h("div", {}, h("span", { class: `sign ${who}`, title: word }, mark), " ", h("code", {}, path));
}

// Blind votes: two reflections on the same task, nothing else; which advice is better? Votes are compared with what the
// reflections really gained.

import { get } from "./api.js";
import { button, fill, h, setText } from "./dom.js";

/** `onVote(target, value)` keeps a vote; `whenSaved()` resolves once the hub has it. Returns {start, end, isOn, vote}. */
export function drawPairs(element, { annotator, filter, keysOf, whenSaved, onStart, onVote, say }) {
  let pair = null;
  let isOn = false;
  let votes = 0;
  const score = h("p", { class: "dim small", role: "status" });

  async function start() {
    if (!isOn) onStart();
    isOn = true;
    element.hidden = false;
    try {
      pair = await get("/agreement/pair", { annotator: annotator(), filter: filter() });
      if (isOn) show();
    } catch (problem) {
      fill(element, h("p", { class: "problem", role: "alert" }, problem.message));
    }
  }

  function show() {
    compare();
    if (!pair) {
      return void fill(element, h("div", { class: "empty-state" }, h("p", {}, h("strong", {}, votes ? "✓ No pair is left." : "No two reflections to compare.")), h("p", {}, "A pair is two different reflections on failures of the same task. Play a task twice and they stand here, without a name and without what came of them.", filter() ? [" Looked for among ", h("code", {}, filter()), "; without a filter there may be more."] : null), score));
    }
    fill(element, h("header", {}, h("p", { class: "dim small" }, "Both look back on a failed trial of this task. Which advice is better?"), h("h2", { class: "task" }, pair.instruction)),
      h("div", { class: "pair-texts" }, side(pair.this.text, "left"), side(pair.other.text, "right")),
      h("div", { class: "tools row pair-tools" }, choice("left", "this one"), choice("tie", "equally good"), choice("right", "this one"), score));
    say(`${pair.instruction} Left: ${pair.this.text} Right: ${pair.other.text}`);
  }

  const side = (text, where) => h("section", { class: "reflection", "aria-label": where === "left" ? "Left" : "Right" }, h("header", {}, h("h3", {}, where === "left" ? "A" : "B")), h("blockquote", {}, text.trim()));
  const choice = (which, label) => button([h("kbd", {}, keysOf(which).split(" ")[0]), h("span", {}, which === "left" ? `A: ${label}` : which === "right" ? `B: ${label}` : label)], () => vote(which), { class: "key" });

  async function vote(which) {
    if (!pair) return;
    const { this: one, other } = pair;
    pair = null;
    votes += 1;
    onVote({ episode_id: one.episode_id, part: "reflection", trial: one.trial, turn: null }, { episode_id: other.episode_id, trial: other.trial, winner: { left: "this", right: "other", tie: "tie" }[which] });
    // The hub chooses the next pair by what it has stored.
    await whenSaved();
    if (isOn) start();
  }

  async function compare() {
    const found = await get("/agreement/votes").catch(() => null);
    if (found) setText(score, wordsOf(found));
  }

  return {
    start, vote, isOn: () => isOn,
    end: () => {
      isOn = false;
      element.hidden = true;
    },
  };
}

function wordsOf({ votes, comparable, for_higher_gain }) {
  const agreed = comparable ? ` Where the gains differed, ${for_higher_gain} of ${comparable} were for the reflection that gained more.` : "";
  return `${votes.toLocaleString("en")} ${votes === 1 ? "vote" : "votes"} so far.${agreed}`;
}

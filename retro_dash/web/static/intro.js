// What stands in the place of the trials before the first turn: what will happen, who does it, and what begins it.

import { h, keyed, player, plural, setText, sign } from "./dom.js";

/** `begin`: what begins it. Returns {element, show}; planner and reflector as `/policies` tells them. */
export function drawIntro(begin) {
  const acts = h("p", {});
  const again = h("p", {});
  const steps = h("ol", { class: "how" },
    step("planner", "The planner acts", acts),
    step("reflector", "The reflector looks back", h("p", {}, "When a trial fails, it writes what went wrong and what to do next time.")),
    step("planner", "The planner tries again", again));
  const players = h("dl", { class: "players" });
  const element = h("section", { class: "intro", "aria-label": "What will happen" }, steps, players, begin);

  function show({ task, planner, reflector, strategy, trialLimit }) {
    const turns = task?.turn_limit ? ` It has ${plural(task.turn_limit, "turn")}.` : "";
    setText(acts, `It reads the task, thinks, acts and reads what the environment answers, turn by turn.${turns}`);
    setText(again, AGAIN[strategy] ?? AGAIN.reflexion);
    steps.lastChild.querySelector("small").textContent = `up to ${plural(trialLimit, "trial")}`;
    keyed(players, [["planner", planner], ["reflector", reflector]].filter(([, one]) => one), ([role, one]) => `${role} ${one.name} ${one.available}`, ([role, one]) => h("div", {},
      h("dt", {}, sign(player(one.name, role)), role === "planner" ? "Planner" : "Reflector"),
      h("dd", {}, h("strong", {}, one.label || one.name), " ", h("span", { class: "dim" }, one.available === false ? `${one.detail} Not ready yet: the engine starts.` : one.detail))));
  }

  return { element, show };
}

const AGAIN = {
  reflexion: "It starts over with that advice in its prompt. The gain says what the advice was worth.",
  last_attempt: "It starts over and reads its last failed attempt, without the advice.",
  both: "It starts over with its last attempt and the advice in its prompt. The gain says what that was worth.",
  none: "It starts over and is told nothing: the comparison that shows what advice is worth.",
};

function step(who, title, text) {
  return h("li", { class: who }, h("h2", {}, sign(who), title, h("small", {})), text);
}

// What stands around the trials on the Play page: head, strip, end, budget, other live episodes.

import { get } from "./api.js";
import { button, fill, h, keyed, number, player, plural, setText, sign, signed } from "./dom.js";
import { drawIntro } from "./intro.js";
import { gainBadge, outcome, settingsWords } from "./turns.js";

/** What the episode is doing, in words. */
export const PHASES = { ready: "Ready", thinking: "The planner thinks", proposed: "Waits for you", acting: "The environment answers", reflecting: "The reflector looks back", between_trials: "Between trials", finished: "Finished" };

/** The lineage of what is on screen. */
export function crumbs(episode, task) {
  if (!task) return [{ text: "Play" }];
  return [{ text: task.env }, { text: task.split }, { text: task.id, href: `/episodes?filter=${encodeURIComponent(`task:"${task.id.replaceAll('"', "")}"`)}` },
    episode?.parent_id ? { text: `fork of ${episode.parent_id} before turn ${episode.fork_turn} of trial ${episode.fork_trial}`, href: `/?episode=${encodeURIComponent(episode.parent_id)}` } : null,
    episode ? { text: episode.id, href: `/episodes?episode=${encodeURIComponent(episode.id)}` } : { text: "not started" }];
}

/** The regions of the page, by name. `begin`: the button of the first press. */
export function layout(main, begin) {
  const page = {
    intro: drawIntro(h("div", { class: "tools row" }, begin, h("span", { class: "dim small" }, "or turn by turn with ", h("kbd", {}, "S"), ", and ", h("kbd", {}, "?"), " for every key"))),
    setup: h("section", { class: "panel setup", "aria-label": "Task and agents" }), title: h("h1", { class: "task" }, "Play"), chips: h("div", { class: "chips" }),
    transport: h("div", { class: "transport", role: "toolbar", "aria-label": "Play" }), phase: h("span", { class: "phase" }, "Ready"),
    problem: h("p", { class: "problem", role: "alert", hidden: true }),
    trials: h("div", { class: "trials" }), strip: h("div", { class: "strip", "aria-label": "Trials so far", role: "img", hidden: true }),
    end: h("div", { class: "the-end", hidden: true }),
    stage: h("section", { class: "stage", "aria-label": "Episode" }), world: h("aside", { class: "panel world", "aria-label": "World" }), worldView: h("div", { class: "world-view" }), budget: h("div", { class: "budget" }),
    latest: h("button", { type: "button", class: "button latest", hidden: true }, "↓ Newest turn"),
    presenter: h("button", { type: "button", class: "button quiet", title: "Presenter view: only task, turns, reflection and reward" }, "Present", h("kbd", { "aria-hidden": "true" }, "P")), live: h("div", { class: "live-list" }),
  };
  fill(main, page.setup,
    fill(page.stage,
      h("header", { class: "stage-head" }, h("div", { class: "stage-title" }, page.title, page.presenter), page.chips),
      h("div", { class: "controls" }, page.transport, page.strip), page.problem, page.intro.element, page.trials, page.end, page.latest),
    page.world);
  page.setup.parentElement.classList.add("play");
  const setupBox = h("div", {});
  fill(page.setup, h("h2", {}, "Task"), setupBox, page.live);
  fill(page.world, h("h2", {}, "World"), page.budget, page.worldView);
  return { ...page, setup: setupBox };
}

export function verbButton({ verb, label, cap, help, primary }, onPress) {
  return button([h("span", { class: "label" }, label), h("kbd", { "aria-hidden": "true" }, cap)], onPress,
    { class: `${primary ? "primary" : ""} verb-${verb}`, title: help, "aria-keyshortcuts": cap.replace("⇧", "Shift+") });
}

/** Task, agents and settings. */
export function showHead(page, task, episode, setup) {
  setText(page.title, task?.instruction ?? "Choose a task");
  page.title.title = task?.instruction ?? "";
  const planner = episode?.planner ?? setup.chosen.planner;
  const reflector = episode?.reflector ?? setup.chosen.reflector;
  const label = (name) => setup.policy(name)?.label || name;
  const key = JSON.stringify([task?.id, planner, reflector, episode?.strategy, episode?.temperature, episode?.seed, label(planner)]);
  if (page.chips.dataset.key !== key) {
    page.chips.dataset.key = key;
    const type = task?.metadata_public?.type ?? task?.metadata?.type;
    fill(page.chips, task ? [h("span", { class: "chip" }, task.env), h("span", { class: "chip" }, task.split), typeof type === "string" ? h("span", { class: "chip" }, type) : null,
      h("span", { class: "chip who" }, sign(player(planner, "planner"), "planner"), label(planner)), h("span", { class: "chip who" }, sign(player(reflector, "reflector"), "reflector"), label(reflector)),
      episode ? h("span", { class: "chip" }, settingsWords(episode)) : null] : []);
  }
  page.intro.show({ task, planner: setup.policy(planner), reflector: setup.policy(reflector), strategy: setup.chosen.strategy, trialLimit: setup.chosen.trial_limit });
}

/** How the trials went, in a strip and, at the end, in a sentence. */
export function showEnd(page, state) {
  const episode = state?.episode;
  const trials = episode?.trials ?? [];
  page.strip.hidden = !trials.length;
  const words = trials.map((trial) => `trial ${trial.index} ${outcome(trial)[2]}, reward ${number(trial.reward)}`).join("; ");
  page.strip.setAttribute("aria-label", words || "No trials yet");
  keyed(page.strip, trials, (trial) => trial.index, () => h("span", { class: "mini" }), (element, trial) => {
    const [who, mark] = outcome(trial);
    const before = episode.reflections.find((one) => one.after_trial === trial.index - 1);
    const gain = before && before.gain !== null && before.gain !== undefined ? ` ${signed(before.gain)}` : "";
    const key = `${who} ${trial.reward} ${gain}`;
    if (element.dataset.key === key) return;
    element.dataset.key = key;
    element.className = `mini ${who}`;
    fill(element, trial.index > 1 ? h("i", {}, before ? `◆${gain}` : "›") : null, `${trial.index} ${mark} `, trial.stop_reason ? number(trial.reward) : "");
  });
  const over = state?.phase === "finished";
  page.end.hidden = !over;
  const helped = episode?.reflections.findLast((one) => one.gain > 0);
  const key = over ? JSON.stringify([episode.id, episode.state, helped?.gain]) : "";
  if (!over || page.end.dataset.key === key) return;
  page.end.dataset.key = key;
  const solved = trials.findIndex((trial) => trial.success) + 1;
  const say = solved ? `Solved in trial ${solved}${solved > 1 ? `, after ${solved - 1} reflection${solved > 2 ? "s" : ""}` : ""}.`
    : episode.state === "failed" ? `Not solved in ${plural(trials.length, "trial")}.` : `The episode ended: ${episode.state}.`;
  fill(page.end, h("p", {}, h("span", { class: `sign ${solved ? "success" : "failure"}`, "aria-hidden": "true" }, solved ? "✓" : "✕"), " ", h("strong", {}, say), helped ? gainBadge(helped) : null),
    h("div", { class: "tools row" }, h("a", { class: "button primary", href: `/episodes?episode=${encodeURIComponent(episode.id)}` }, "Compare its trials side by side"),
      h("a", { class: "button", href: `/curate?${new URLSearchParams({ filter: `id:${episode.id}`, episode: episode.id })}` }, "Label it"), h("span", { class: "dim small" }, "or fork any turn, or press ", h("kbd", {}, "O"), " for a new episode")));
}

export function showBudget(page, state, task) {
  const { turns_used = 0, turn_limit, tokens_used = 0, token_limit } = state?.budget ?? { turn_limit: task?.turn_limit };
  keyed(page.budget, [["turns", turns_used, turn_limit], ["tokens", tokens_used, token_limit]].filter(([, , limit]) => limit), ([name]) => name, ([name]) => {
    const bar = h("meter", { id: `budget-${name}`, min: 0, value: 0 });
    return h("div", { class: "meter" }, h("label", { for: `budget-${name}` }, name), bar, h("span", { class: "tabular" }));
  }, (element, [, used, limit]) => {
    const bar = element.children[1];
    bar.setAttribute("max", limit);
    bar.setAttribute("high", limit * 0.8);
    bar.value = Math.min(used, limit);
    setText(element.lastChild, `${used.toLocaleString("en")} / ${limit.toLocaleString("en")}`);
  });
}

/** Other episodes that are live, to go on with. */
export async function showLive(page, live) {
  let others = [];
  try {
    others = await get("/live");
  } catch {
    return;
  }
  const list = others.map((state) => ({ id: state.episode_id ?? state.episode.id, phase: state.phase, text: state.episode?.task?.instruction ?? state.instruction }))
    .filter((one) => one.id !== live.episode?.id && one.phase !== "finished").slice(0, 5);
  fill(page.live, list.length ? [h("h3", {}, "Also live"), h("ul", {}, list.map((one) => h("li", {}, h("a", { href: `/?episode=${encodeURIComponent(one.id)}` }, one.text || one.id), h("span", { class: "dim small" }, ` ${PHASES[one.phase] ?? one.phase}`))))] : []);
}

// Play: choose a task, step an agent, watch it fail, reflect and try again.

import { get, post } from "../api.js";
import { button, fill, h, keyed, number, setEnabled, setText, sign, signed } from "../dom.js";
import { bind } from "../keys.js";
import { Live, viewOf } from "../live.js";
import { drawSetup } from "../setup.js";
import { drawTrials } from "../trials.js";
import { gainBadge, outcome } from "../turns.js";
import { drawWorld, panelOf } from "../worlds/index.js";

const BUSY = new Set(["thinking", "acting", "reflecting"]);
const PHASES = { ready: "Ready", thinking: "The planner thinks", proposed: "Waits for you", acting: "The environment answers", reflecting: "The reflector looks back", between_trials: "Between trials", finished: "Finished" };
const VERBS = [
  { verb: "run_episode", keys: "Shift+R", label: "Run episode", cap: "⇧R", help: "Trials and reflections until it is solved or the trials are used up", primary: true },
  { verb: "run_trial", keys: "r", label: "Run trial", cap: "R", help: "Turns until this trial ends" },
  { verb: "step", keys: "s", label: "Step", cap: "S", help: "One turn: think, act, observe" },
  { verb: "hold", keys: "e", label: "Hold", cap: "E", help: "The planner writes its turn and waits, so that you can change it" },
  { verb: "reflect", keys: "f", label: "Reflect", cap: "F", help: "The reflector looks back at the failed trial" },
  { verb: "next_trial", keys: "n", label: "Next trial", cap: "N", help: "Start again with what was learned" },
  { verb: "stop", keys: "x", label: "Stop", cap: "X", help: "Stop what is running; when nothing runs, end the episode" },
];
const DRAFT = ["step", "run_trial", "run_episode"];

export async function draw(frame) {
  const page = layout(frame.main);
  const live = new Live((what) => change(what), (message) => problem(message));
  const setup = drawSetup(page.setup, { onStart: () => newEpisode(), onChange: () => change("all") });
  const acts = {
    fork, step: (body) => press("step", body), reflect: (text) => press("reflect", text === undefined ? {} : { text }),
    editReflection: (text) => press("edit_reflection", { text }), nextTrial: () => press("next_trial"),
  };
  const trials = drawTrials(page.trials, acts);
  const buttons = new Map(VERBS.map((one) => [one.verb, verbButton(one, () => command(one.verb))]));
  fill(page.transport, VERBS.map((one) => buttons.get(one.verb)), page.phase);
  for (const one of VERBS) bind(one.keys, `${one.label}: ${one.help.charAt(0).toLowerCase()}${one.help.slice(1)}`, () => command(one.verb));
  bind("o", "New episode with the chosen task", () => newEpisode());
  bind("p", "Presenter view: only task, turns, reflection and reward", () => document.documentElement.classList.toggle("presenter"));
  bind("/", "Filter tasks", () => setup.focus());
  bind("Escape", "Leave the presenter view", () => document.documentElement.classList.remove("presenter"), () => document.documentElement.classList.contains("presenter"));
  page.presenter.addEventListener("click", () => document.documentElement.classList.toggle("presenter"));
  page.latest.addEventListener("click", () => scrollBy({ top: below() + 12 }));
  addEventListener("popstate", () => attachFromAddress());
  document.addEventListener("rd-engine", () => setup.refreshPolicies());

  // Pressing

  function allowed() {
    if (!live.state) return setup.chosen.task ? [...DRAFT, "hold"] : [];
    const verbs = live.state.allowed ?? [];
    return verbs.includes("step") && live.state.phase !== "proposed" ? [...verbs, "hold"] : verbs;
  }

  function command(verb) {
    if (asking || !allowed().includes(verb)) return;
    if (verb === "hold") press("step", { hold: true });
    else if (verb === "step" && live.state?.phase === "proposed") page.trials.querySelector(".proposal button.primary")?.click();
    else press(verb);
  }

  let asking = null;
  // A card's button may come while the answer to the verb before is still on its way.
  async function press(verb, body = {}) {
    while (asking) await asking;
    asking = ask(verb, body);
    await asking;
  }

  async function ask(verb, body) {
    problem("");
    const pressed = buttons.get(body.hold ? "hold" : verb);
    pressed?.classList.add("pressed");
    setText(page.phase, "…");
    follows = true;
    try {
      if (!live.state) await begin();
      await live.press(verb, body);
    } catch (error) {
      problem(error.message);
    } finally {
      asking = null;
      pressed?.classList.remove("pressed");
      change("all");
    }
  }

  async function begin() {
    const state = await post("/live", setup.settings());
    address(state.episode.id);
    live.take(state);
  }

  function newEpisode() {
    live.detach();
    trials.folded.clear();
    address(null);
    problem("");
    change("all");
    buttons.get("run_episode").focus();
  }

  async function fork(trial, turn) {
    problem("");
    try {
      const state = await live.press("fork", { trial, turn: turn.index });
      address(state.episode.id, true);
      trials.folded.clear();
      live.take(state);
      frame.say(`Forked before turn ${turn.index} of trial ${trial}`);
    } catch (error) {
      problem(error.message);
    }
  }

  function address(episodeId, push = false) {
    const url = episodeId ? `?episode=${encodeURIComponent(episodeId)}` : location.pathname;
    if (push) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
  }

  // Showing

  let frameAsked = false;
  let follows = true;
  let lastPhase = "";
  let world = { env: null, panel: null, place: null };

  function change(what) {
    if (what === "token") {
      if (live.state) trials.stream(live.state);
      keepUp();
      return;
    }
    if (frameAsked) return;
    frameAsked = true;
    requestAnimationFrame(() => {
      frameAsked = false;
      show();
      keepUp();
    });
  }

  function show() {
    const { state } = live;
    const episode = state?.episode;
    const task = episode?.task ?? setup.chosen.task;
    document.title = task ? `${task.instruction.slice(0, 60)} · Retro Dash` : "Play · Retro Dash";
    showHead(page, task, episode, setup);
    const can = allowed();
    for (const [verb, element] of buttons) setEnabled(element, can.includes(verb) && !asking);
    const busy = state && BUSY.has(state.phase);
    setText(buttons.get("stop").querySelector(".label"), state && !busy && state.phase !== "finished" ? "End" : "Stop");
    const phase = !state ? "Ready" : live.line === "lost" ? "The line to the hub is lost; trying again" : PHASES[state.phase] ?? state.phase;
    if (!asking) setText(page.phase, phase);
    page.phase.classList.toggle("busy", Boolean(busy));
    if (phase !== lastPhase) frame.say(lastPhase ? phase : "");
    lastPhase = phase;
    page.empty.hidden = Boolean(episode?.trials.length) || Boolean(busy);
    page.trials.hidden = !state;
    if (state) trials.show(state);
    else fill(page.trials).__byKey = undefined;
    showEnd(page, state);
    showBudget(page, state, task);
    showWorld(task?.env, state);
    frame.crumbs(...crumbs(episode, task));
  }

  async function showWorld(env, state) {
    const view = state ? viewOf(state) : null;
    const wanted = view ? env : "";
    if (world.env !== wanted) {
      const panel = wanted ? await panelOf(wanted) : null;
      world = { env: wanted, panel, place: h("div", {}) };
      fill(page.worldView, wanted ? world.place : h("p", { class: "dim" }, "What the environment shows beside the transcript appears here as soon as the episode begins."));
    }
    if (!view) return;
    const canAct = state && ["ready", "proposed"].includes(state.phase) && allowed().includes("step");
    const act = canAct ? (action) => press("step", { action, thought: "" }) : null;
    drawWorld(world.panel, world.place, view, { act, note: canAct ? "Press one to do it yourself instead of asking the planner." : "" });
  }

  // Follow the newest turn unless somebody scrolled away from it.
  const below = () => page.stage.getBoundingClientRect().bottom - innerHeight;
  const isFollowing = () => (follows = below() < 160);
  addEventListener("wheel", isFollowing, { passive: true });
  addEventListener("touchmove", isFollowing, { passive: true });
  addEventListener("keydown", (event) => ["PageUp", "ArrowUp", "Home"].includes(event.key) && (follows = false));
  addEventListener("scroll", () => {
    if (below() < 40) follows = true;
    showLatest();
  }, { passive: true });
  function keepUp() {
    if (follows && live.state?.episode.trials.length && below() > 0) scrollBy({ top: below() + 12 });
    showLatest();
  }
  function showLatest() {
    page.latest.hidden = follows || !BUSY.has(live.state?.phase);
  }

  function problem(message) {
    page.problem.hidden = !message;
    setText(page.problem, message);
  }

  // Starting

  async function attachFromAddress() {
    const episodeId = new URLSearchParams(location.search).get("episode");
    if (!episodeId) {
      live.detach();
      change("all");
      return;
    }
    try {
      follows = true;
      await live.attach(episodeId);
    } catch (error) {
      problem(error.message);
    }
  }

  change("all");
  await Promise.all([setup.ready().catch((error) => problem(error.message)), attachFromAddress()]);
  showLive(page, live);
  change("all");
}

function crumbs(episode, task) {
  if (!task) return [{ text: "Play" }];
  return [{ text: task.env }, { text: task.split }, { text: task.id, href: `/episodes?filter=${encodeURIComponent(`task:"${task.id.replaceAll('"', "")}"`)}` },
    episode?.parent_id ? { text: `fork of ${episode.parent_id} before turn ${episode.fork_turn} of trial ${episode.fork_trial}`, href: `/?episode=${encodeURIComponent(episode.parent_id)}` } : null,
    episode ? { text: episode.id, href: `/episodes?episode=${encodeURIComponent(episode.id)}` } : { text: "not started" }];
}

function layout(main) {
  const page = {
    setup: h("section", { class: "panel setup", "aria-label": "Task and agents" }), title: h("h1", { class: "task" }, "Play"), chips: h("div", { class: "chips" }),
    transport: h("div", { class: "transport", role: "toolbar", "aria-label": "Play" }), phase: h("span", { class: "phase" }, "Ready"),
    problem: h("p", { class: "problem", role: "alert", hidden: true }), expert: h("p", { class: "expert-note", hidden: true }),
    trials: h("div", { class: "trials" }), strip: h("div", { class: "strip", "aria-label": "Trials so far", role: "img", hidden: true }),
    end: h("div", { class: "the-end", hidden: true }), empty: h("section", { class: "empty-state" },
      h("p", {}, h("strong", {}, "Nothing has been played yet.")),
      h("p", {}, "Press ", h("kbd", {}, "⇧R"), " Run episode: the planner tries the task, the reflector looks back at what went wrong, and the planner tries again. Or go turn by turn with ", h("kbd", {}, "S"), ".")),
    stage: h("section", { class: "stage", "aria-label": "Episode" }), world: h("aside", { class: "panel world", "aria-label": "World" }), worldView: h("div", { class: "world-view" }), budget: h("div", { class: "budget" }),
    latest: h("button", { type: "button", class: "button latest", hidden: true }, "↓ Newest turn"),
    presenter: h("button", { type: "button", class: "button quiet", title: "Presenter view: only task, turns, reflection and reward" }, "Present", h("kbd", { "aria-hidden": "true" }, "P")), live: h("div", { class: "live-list" }),
  };
  fill(main, page.setup,
    fill(page.stage,
      h("header", { class: "stage-head" }, h("div", { class: "stage-title" }, page.title, page.presenter), page.chips),
      h("div", { class: "controls" }, page.transport, page.strip), page.problem, page.expert, page.empty, page.trials, page.end, page.latest),
    page.world);
  page.setup.parentElement.classList.add("play");
  const setupBox = h("div", {});
  fill(page.setup, h("h2", {}, "Task"), setupBox, page.live);
  fill(page.world, h("h2", {}, "World"), page.budget, page.worldView);
  return { ...page, setup: setupBox };
}

function verbButton({ verb, label, cap, help, primary }, onPress) {
  return button([h("span", { class: "label" }, label), h("kbd", { "aria-hidden": "true" }, cap)], onPress,
    { class: `${primary ? "primary" : ""} verb-${verb}`, title: help, "aria-keyshortcuts": cap.replace("⇧", "Shift+") });
}

function showHead(page, task, episode, setup) {
  setText(page.title, task?.instruction ?? "Choose a task");
  page.title.title = task?.instruction ?? "";
  const planner = episode?.planner ?? setup.chosen.planner;
  const reflector = episode?.reflector ?? setup.chosen.reflector;
  const who = (name, role) => (name === "expert" ? "expert" : role);
  const label = (name) => setup.policy(name)?.label || name;
  const key = JSON.stringify([task?.id, planner, reflector, episode?.strategy, episode?.temperature, episode?.seed, label(planner)]);
  if (page.chips.dataset.key !== key) {
    page.chips.dataset.key = key;
    const type = task?.metadata_public?.type ?? task?.metadata?.type;
    fill(page.chips, task ? [h("span", { class: "chip" }, task.env), h("span", { class: "chip" }, task.split), typeof type === "string" ? h("span", { class: "chip" }, type) : null,
      h("span", { class: "chip who" }, sign(who(planner, "planner")), "planner ", label(planner)), h("span", { class: "chip who" }, sign(who(reflector, "reflector")), "reflector ", label(reflector)),
      episode ? h("span", { class: "chip" }, `T ${number(episode.temperature)} · seed ${episode.seed} · ${episode.strategy.replace("_", " ")}`) : null] : []);
  }
  const expert = [planner, reflector].includes("expert");
  page.expert.hidden = !expert || Boolean(episode?.trials.length);
  if (expert && !page.expert.firstChild) fill(page.expert, sign("expert"), " The scripted expert is a program that knows how this environment works, not a language model. Choose a model as planner to see one try.");
}

function showEnd(page, state) {
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
    : episode.state === "failed" ? `Not solved in ${trials.length} trials.` : `The episode ended: ${episode.state}.`;
  fill(page.end, h("p", {}, h("span", { class: `sign ${solved ? "success" : "failure"}`, "aria-hidden": "true" }, solved ? "✓" : "✕"), " ", h("strong", {}, say), helped ? gainBadge(helped) : null),
    h("div", { class: "tools row" }, h("a", { class: "button primary", href: `/episodes?episode=${encodeURIComponent(episode.id)}` }, "Compare its trials side by side"),
      h("span", { class: "dim small" }, "or fork any turn, or press O for a new episode")));
}

function showBudget(page, state, task) {
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

async function showLive(page, live) {
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

// Play: choose a task, step an agent, watch it fail, reflect and try again.

import { post } from "../api.js";
import { button, fill, h, setEnabled, setText } from "../dom.js";
import { bind } from "../keys.js";
import { Live, viewOf } from "../live.js";
import { drawSetup } from "../setup.js";
import { crumbs, layout, PHASES, showBudget, showEnd, showHead, showLive, verbButton } from "../stage.js";
import { drawTrials } from "../trials.js";
import { drawWorld, panelOf } from "../worlds/index.js";

const BUSY = new Set(["thinking", "acting", "reflecting"]);
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
  const page = layout(frame.main, button([h("span", {}, "Run episode"), h("kbd", { "aria-hidden": "true" }, "⇧R")], () => command("run_episode"), { class: "primary begin" }));
  const live = new Live((what) => change(what), (message) => problem(message));
  const setup = drawSetup(page.setup, { onStart: () => newEpisode(), onChange: () => change("all") });
  const acts = {
    fork, other, step: (body) => press("step", body), reflect: (text) => press("reflect", text === undefined ? {} : { text }),
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

  // The chosen planner, where it is not the one that plays.
  function other(episode) {
    return setup.chosen.planner && setup.chosen.planner !== episode.planner ? setup.policy(setup.chosen.planner) : null;
  }

  async function fork(trial, turn, planner = null) {
    problem("");
    try {
      const state = await live.press("fork", { trial, turn: turn.index, ...(planner ? { planner } : {}) });
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
    setup.start.hidden = !state;
    page.intro.element.hidden = Boolean(episode?.trials.length) || Boolean(busy);
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

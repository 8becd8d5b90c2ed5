// One episode: its trials as columns, aligned by what was done, with the reflections and their gain between them.

import { get, getText, id, post } from "./api.js";
import { age, button, fill, h, number, player, plural, reason, setText, sign } from "./dom.js";
import { foldAll, openingElement, outcome, reflectionElement, settingsWords, turnElement } from "./turns.js";
import { pieces } from "./virtual.js";
import { worldBeside } from "./worlds/beside.js";

const TURNS_A_PAGE = 50;
const ROW_HEIGHT = 96;

/** Draws episode `episodeId` into `element`. Returns {turn(step), trial, goTo(trial, turn), end}. */
export async function drawDetail(element, episodeId, { onClose, onPlace, crumbs, say }) {
  fill(element, skeleton());
  const [episode, alignment] = await Promise.all([get(`/episodes/${id(episodeId)}`), get(`/episodes/${id(episodeId)}/alignment`)]);
  crumbs(episode);
  document.title = `${episode.task.instruction.slice(0, 60)} · Retro Dash`;
  const trials = episode.trials.map((trial) => ({ ...trial, turn_count: episode.turn_counts?.[trial.index] ?? trial.turn_count ?? trial.turns.length, turns: new Map(trial.turns.map((turn) => [turn.index, turn])) }));
  const note = h("p", { class: "notice", role: "status", hidden: true });
  const tell = (text, who = "") => {
    note.hidden = !text;
    note.className = `notice ${who}`;
    setText(note, text);
  };
  const board = h("div", { class: "board" });
  const focus = { trial: trials.length, turn: 0 };
  const hasWorld = trials.some((trial) => trial.view || [...trial.turns.values()].some((taken) => taken.view));
  const world = hasWorld ? worldBeside(episode.task.env, { isSingle: trials.length === 1, onStep: (by) => turn(by) }) : null;
  const body = world ? h("div", { class: `detail-body ${trials.length === 1 ? "single" : ""}` }, board, world.element) : board;
  fill(element, headElement(episode, trials, { onClose, tell, board, onAgain: again }), note, trials.length ? body : noTrials(episode));
  if (!trials.length) return { turn() {}, goTo() {}, end() {} };
  const rows = alignment.rows ?? [];
  const divergences = (alignment.divergences ?? []);
  const { cells, tabs } = columns(board, episode, trials, alignment);
  const places = pieces(cells, rows.length, ROW_HEIGHT, async (from, to) => {
    await load(rows.slice(from, to));
    return rows.slice(from, to).map((row, at) => rowElement(row, from + at));
  });

  async function load(wanted) {
    const missing = new Map();
    for (const row of wanted) row.forEach((turn, column) => {
      if (turn !== null && !trials[column].turns.has(turn)) missing.set(`${column} ${Math.floor((turn - 1) / TURNS_A_PAGE)}`, [column, Math.floor((turn - 1) / TURNS_A_PAGE)]);
    });
    await Promise.all([...missing.values()].map(([column, page]) => loadPage(trials[column], page)));
  }

  async function loadPage(trial, page) {
    trial.pages ??= new Map();
    if (!trial.pages.has(page)) {
      const start = page * TURNS_A_PAGE + 1;
      trial.pages.set(page, get(`/episodes/${id(episodeId)}/trials/${trial.index}/turns`, { start, stop: start + TURNS_A_PAGE }));
    }
    for (const turn of await trial.pages.get(page)) trial.turns.set(turn.index, turn);
  }

  /** The world after a turn; before the first one with turn 0. */
  async function showWorld(trial, turn_) {
    if (!world) return;
    if (turn_ && !trial.turns.has(turn_)) await loadPage(trial, Math.floor((turn_ - 1) / TURNS_A_PAGE));
    world.show(turn_ ? `after turn ${turn_} of trial ${trial.index}` : `at the start of trial ${trial.index}`, turn_ ? trial.turns.get(turn_)?.view : trial.view);
  }

  function rowElement(row, index) {
    const cellsOfRow = row.map((turn, column) => {
      if (turn === null) return gapElement(index, column);
      const trial = trials[column];
      const taken = trial.turns.get(turn);
      if (!taken) return h("div", { class: "cell dim" }, "This turn is not stored.");
      const tools = [h("a", { class: "link", href: place(trial.index, turn), on: { click: (event) => { event.preventDefault(); goTo(trial.index, turn); } } }, "link"),
        h("button", { type: "button", class: "button link", title: "Begin a new live episode that leaves this one before this turn", on: { click: () => fork(trial.index, turn) } }, "fork")];
      return h("div", { class: `cell ${board.dataset.trial === String(trial.index) ? "shown" : ""}`, "data-trial": trial.index },
        partsHere(divergences, trial.index, turn), turnElement(taken, { trial: trial.index, before: trial.turns.get(turn - 1)?.reward ?? 0, repeats: alignment.repeats?.[trial.index]?.[turn] ?? null, tools }));
    });
    return h("div", { class: `row ${alignment.same?.[index] && trials.length > 1 ? "shared" : ""}`, "data-row": index }, interleave(cellsOfRow));
  }

  /** Where a trial has no turn beside the other's: the first of such rows says so. */
  function gapElement(index, column) {
    const cell = h("div", { class: "cell gap dim small" });
    if (index > 0 && rows[index - 1][column] === null) return cell;
    const next = rows.findIndex((row, at) => at > index && row[column] !== null);
    const left = next - index > 1 ? `these ${next - index} turns` : "this turn";
    cell.append(h("p", {}, next < 0 ? `Trial ${trials[column].index} had ended here.` : `Trial ${trials[column].index} left ${left} out.`));
    return cell;
  }

  async function fork(trial, turn) {
    tell("Forking …");
    try {
      const state = await post(`/live/${id(episodeId)}/fork`, { trial, turn });
      location.assign(`/?episode=${encodeURIComponent(state.episode?.id ?? state.episode_id)}`);
    } catch (error) {
      tell(error.message, "failure");
    }
  }

  // A task that this hub does not offer, such as one of a file, is played again from before its first turn.
  async function again() {
    const { env, split, id: task } = episode.task;
    tell("Looking for the task …");
    const here = (await get("/environments").catch(() => [])).find((one) => one.name === env);
    const { tasks } = here?.splits.includes(split) ? await get("/tasks", { env, split, query: task, limit: 5 }) : { tasks: [] };
    if (tasks.some((one) => one.id === task)) location.assign(`/?${new URLSearchParams({ env, split, task })}`);
    else await fork(trials[0].index, 1);
  }

  const place = (trial, turn) => `/episodes?${new URLSearchParams({ episode: episodeId, trial, turn })}`;

  async function goTo(trial, turn, { quiet = false } = {}) {
    const column = trials.findIndex((one) => one.index === trial);
    if (column < 0) return tell(`This episode has no trial ${trial}.`, "failure");
    tabs(trial);
    const row = rows.findIndex((cells_) => cells_[column] === turn);
    if (row < 0) return turn ? tell(`Trial ${trial} has no turn ${turn}; it has ${trials[column].turn_count}.`, "failure") : undefined;
    Object.assign(focus, { trial, turn });
    showWorld(trials[column], turn);
    await places.reach(row);
    const node = document.getElementById(`t${trial}-${turn}`);
    for (const other of board.querySelectorAll(".turn.current")) other.classList.remove("current");
    node.classList.add("current");
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "center" });
    // Pieces above may have found their true height since.
    requestAnimationFrame(() => node.scrollIntoView({ block: "center" }));
    if (!quiet) onPlace(trial, turn);
    say(`Trial ${trial}, turn ${turn}`);
  }

  function turn(step) {
    const trial = trials.find((one) => one.index === focus.trial) ?? trials.at(-1);
    const next = Math.min(trial.turn_count, Math.max(1, focus.turn + step));
    if (trial.turn_count) goTo(trial.index, next);
  }

  showWorld(trials.at(-1), trials.at(-1).turn_count);
  return { turn, goTo, end: places.end, foldAll: (open) => foldAll(board, open) };
}

function partsHere(divergences, trial, turn) {
  const parting = divergences.find((one) => one.trial === trial && one.turn === turn);
  if (!parting) return null;
  return h("p", { class: "parting" }, h("span", { "aria-hidden": "true" }, "≠"), ` first difference from trial ${parting.against}`);
}

function interleave(cells) {
  return cells.flatMap((cell, index) => (index ? [h("div", { class: "cell seam", "aria-hidden": "true" }), cell] : [cell]));
}

function headElement(episode, trials, { onClose, tell, board, onAgain }) {
  const url = encodeURIComponent(episode.id);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(await getText(`/episodes/${id(episode.id)}/markdown`));
      tell("✓ Copied as Markdown.", "success");
    } catch (error) {
      tell(`Could not copy: ${error.message}`, "failure");
    }
  };
  const replay = async (event) => {
    const pressed = event.currentTarget;
    tell("Playing the recorded actions again …");
    setBusy(pressed, true);
    try {
      const report = await post(`/episodes/${id(episode.id)}/replay`);
      tell(...replayWords(report));
    } catch (error) {
      tell(error.message, "failure");
    } finally {
      setBusy(pressed, false);
    }
  };
  const won = trials.findIndex((trial) => trial.success) + 1;
  const [who, mark] = episode.state === "running" ? ["planner", "●"] : won ? ["success", "✓"] : ["failure", "✕"];
  return h("header", { class: "detail-head" },
    h("div", { class: "stage-title" }, button("← All episodes", onClose, { class: "quiet", title: "Back to the table (Esc)" }), h("h1", { class: "task" }, episode.task.instruction)),
    h("div", { class: "chips" },
      h("span", { class: "chip" }, h("span", { class: `sign ${who}`, "aria-hidden": "true" }, mark), won ? `solved in trial ${won}` : episode.state), h("span", { class: "chip" }, episode.task.env), h("span", { class: "chip" }, episode.task.split),
      h("span", { class: "chip who" }, sign(player(episode.planner, "planner"), "planner"), episode.planner), h("span", { class: "chip who" }, sign(player(episode.reflector, "reflector"), "reflector"), episode.reflector),
      h("span", { class: "chip" }, settingsWords(episode)), h("span", { class: "chip" }, `${age(episode.created_at)} ago`)),
    h("div", { class: "tools row" },
      episode.state === "running" ? h("a", { class: "button primary", href: `/?episode=${url}` }, "Watch it live") : null,
      trials.length ? button("Same task again", onAgain, { title: "On the Play page, from the start" }) : null, h("a", { class: "button", href: `/results?${new URLSearchParams({ new: "1", filter: `id:${episode.id}` })}` }, "Evaluate methods on it"), h("a", { class: "button", href: `/curate?${new URLSearchParams({ filter: exact(episode.id), episode: episode.id })}`, title: "On the Curate page" }, "Label it"),
      button("Copy as Markdown", copy), h("a", { class: "button", href: `/api/v1/exports/html?${new URLSearchParams({ filter: exact(episode.id) })}`, download: "", title: "One file that opens offline" }, "Save as HTML"), button("Is this trace reproducible?", replay),
      button("Expand all", () => foldAll(board, true)), button("Collapse all", () => foldAll(board, false))));
}

/** The filter of one episode, whatever its id holds. */
const exact = (episodeId) => `id:"${episodeId.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

function replayWords(report) {
  return report.is_reproducible ? [`✓ Reproducible. ${report.summary}`, "success"] : [`✕ Not reproducible. ${report.summary}`, "failure"];
}

function setBusy(element, busy) {
  element.setAttribute("aria-disabled", String(busy));
}

// The heads, the column of rows, and the reflections that stay in sight between the columns.
function columns(board, episode, trials, alignment) {
  const count = trials.length;
  const template = trials.map((_, index) => (index ? "minmax(150px, 0.62fr) minmax(230px, 1fr)" : "minmax(230px, 1fr)")).join(" ");
  board.style.setProperty("--columns", template);
  board.style.setProperty("--min", `${count * 240 + (count - 1) * 160}px`);
  board.classList.toggle("single", count === 1);
  const heads = trials.map((trial) => headOfTrial(trial, alignment));
  const cells = h("div", { class: "rows" });
  const between = trials.slice(1).map((trial, index) => betweenTrials(episode, trials[index], index));
  const last = episode.reflections.find((one) => one.after_trial === trials.at(-1).index);
  const buttons = trials.map((trial) => h("button", { type: "button", class: "button tab", on: { click: () => show(trial.index) } }, `Trial ${trial.index} `, outcome(trial)[1]));
  const show = (number_) => {
    board.dataset.trial = number_;
    trials.forEach((trial, index) => buttons[index].setAttribute("aria-pressed", String(trial.index === number_)));
    for (const cell of cells.querySelectorAll("[data-trial]")) cell.classList.toggle("shown", Number(cell.dataset.trial) === number_);
    for (const [index, trial] of trials.entries()) {
      heads[index].classList.toggle("shown", trial.index === number_);
      between[index - 1]?.classList.toggle("shown", trial.index === number_);
    }
  };
  fill(board, count > 1 ? h("div", { class: "tabs", role: "group", "aria-label": "Which trial" }, buttons) : null,
    h("div", { class: "scroller", tabindex: count > 3 ? "0" : null, role: count > 3 ? "region" : null, "aria-label": count > 3 ? "Trials side by side" : null },
      h("div", { class: "grid heads" }, interleave(heads)), h("div", { class: "grid body" }, between, cells)),
    last ? reflectionElement(last, { level: "h2" }) : null);
  between.forEach((element, index) => (element.style.gridColumn = String(index * 2 + 2)));
  show(trials.at(-1).index);
  return { cells, tabs: show };
}

function headOfTrial(trial, alignment) {
  const [who, mark, word] = outcome(trial);
  const repeats = Object.keys(alignment.repeats?.[trial.index] ?? {}).length;
  return h("section", { class: `column-head ${who}`, "aria-label": `Trial ${trial.index}` },
    h("h2", {}, `Trial ${trial.index} `, h("span", { class: `sign ${who === "running" ? "planner" : who}`, "aria-hidden": "true" }, mark), ` ${word}`),
    h("p", { class: "dim small" }, [`reward ${number(trial.reward)}`, plural(trial.turn_count, "turn"), trial.stop_reason && !trial.success ? reason(trial.stop_reason) : null, repeats ? `↻ ${plural(repeats, "repeat")}` : null].filter(Boolean).join(" · ")),
    trial.error ? h("p", { class: "problem" }, trial.error) : null, openingElement(trial));
}

function betweenTrials(episode, before) {
  const reflection = episode.reflections.find((one) => one.after_trial === before.index);
  if (!reflection) return h("div", { class: "seam-card" }, h("p", { class: "dim small" }, sign("reflector"), " No reflection"));
  return h("div", { class: "seam-card" }, reflectionElement(reflection, { level: "h3" }));
}

function noTrials(episode) {
  return h("div", { class: "empty-state" }, h("p", {}, h("strong", {}, "This episode has no trials yet.")),
    h("a", { class: "button primary", href: `/?episode=${encodeURIComponent(episode.id)}` }, "Play it"));
}

function skeleton() {
  return h("div", { class: "skeleton", "aria-hidden": "true" }, Array.from({ length: 8 }, () => h("i", {})));
}

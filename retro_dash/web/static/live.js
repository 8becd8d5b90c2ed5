// The live episode of the Play page: what the hub says of it, kept up to date by its event stream.

import { follow, get, id, post } from "./api.js";

const PHASE_OF = { planner: "thinking", reflector: "reflecting" };

/** `onChange(what)` after every change; `what` is "token" for a piece of text, "all" otherwise. */
export class Live {
  constructor(onChange, onProblem) {
    this.onChange = onChange;
    this.onProblem = onProblem;
    this.state = null;
    this.line = "live";
    this.end = () => {};
  }

  get episode() {
    return this.state?.episode ?? null;
  }

  /** Attach to an episode by id; the event stream goes on from the state's cursor. */
  async attach(episodeId) {
    this.detach();
    this.take(await get(`/live/${id(episodeId)}`));
  }

  take(state) {
    this.detach();
    this.state = state;
    if (state.error) this.onProblem(state.error);
    this.end = follow(`/live/${id(state.episode.id)}/events`, state.cursor, (event, cursor) => this.hear(event, cursor), (line) => {
      this.line = line;
      this.onChange("all");
    });
    this.onChange("all");
  }

  detach() {
    this.end();
    this.end = () => {};
    this.state = null;
  }

  async press(verb, body = {}) {
    const state = await post(`/live/${id(this.episode.id)}/${verb}`, body);
    if (verb === "fork") return state;
    // The stream may have been faster than this answer.
    if (this.state && state.cursor >= this.state.cursor) this.merge(state);
    this.onChange("all");
    return state;
  }

  merge(state) {
    const { episode, type, cursor, ...rest } = state;
    Object.assign(this.state, rest);
    if (episode?.trials) this.state.episode = episode;
    if (typeof state.state === "string") this.state.episode.state = state.state;
  }

  hear(event, cursor) {
    const { state } = this;
    if (!state) return;
    state.cursor = cursor;
    const trials = state.episode.trials;
    switch (event.type) {
      case "token":
        state.partial = { role: event.role, text: (state.partial?.role === event.role ? state.partial.text : "") + event.text };
        if (state.phase === PHASE_OF[event.role]) return this.onChange("token");
        state.phase = PHASE_OF[event.role];
        break;
      case "state":
        this.merge(event);
        break;
      case "reset":
        this.merge(event);
        break;
      case "trial_started":
        put(trials, event.trial);
        state.partial = null;
        state.view = event.trial.view ?? state.view;
        Object.assign(state.budget, { turns_used: 0, tokens_used: 0 });
        break;
      case "turn": {
        const trial = trials.find((one) => one.index === event.trial);
        if (trial) put(trial.turns, event.turn);
        state.partial = null;
        state.proposal = null;
        state.view = event.turn.view ?? state.view;
        Object.assign(state.budget, { turns_used: event.turn.index, tokens_used: event.tokens_used });
        break;
      }
      case "trial_finished": {
        const trial = trials.find((one) => one.index === event.trial);
        const { reward, success, stop_reason, error, finished_at } = event;
        if (trial) Object.assign(trial, { reward, success, stop_reason, error, finished_at });
        state.partial = null;
        break;
      }
      case "reflection":
        putReflection(state.episode.reflections, event.reflection);
        state.partial = null;
        break;
      case "finished":
        state.episode.state = event.state;
        state.phase = "finished";
        break;
      case "error":
        state.error = event.message;
        this.onProblem(event.message);
        break;
    }
    if (event.type !== "state") fillGains(state.episode);
    this.onChange("all");
  }
}

/** What the environment shows now; after the end, what it showed last. */
export function viewOf(state) {
  if (Object.keys(state.view ?? {}).length) return state.view;
  const last = state.episode.trials.at(-1);
  return last?.turns.findLast((turn) => turn.view)?.view ?? last?.view ?? null;
}

function put(list, item) {
  const at = list.findIndex((one) => one.index === item.index);
  if (at < 0) list.push(item);
  else list[at] = item;
}

function putReflection(list, reflection) {
  const at = list.findIndex((one) => one.after_trial === reflection.after_trial);
  if (at < 0) list.push(reflection);
  else list[at] = reflection;
}

// A gain is known as soon as the next trial has ended.
function fillGains({ trials, reflections }) {
  for (const reflection of reflections) {
    const last = trials.find((trial) => trial.index === reflection.after_trial);
    const next = trials.find((trial) => trial.index === reflection.after_trial + 1);
    if (reflection.gain === null && last && next?.stop_reason) reflection.gain = next.reward - last.reward;
  }
}

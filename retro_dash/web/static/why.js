// Why a trial ended as it did, and what the next one did differently: in a sentence, from what both did.

import { plural } from "./dom.js";

const normalised = (action) => action.toLowerCase().split(/\s+/).join(" ").trim();

const ENDS = {
  turn_limit: (trial) => `it used all ${plural(trial.turns.length, "turn")} before the task was done.`,
  token_limit: () => "it used up the tokens that it may write in one trial.",
  context_limit: () => "what was said no longer fits into the model's context.",
  repeated_action: (trial) => `it did the same again and again: “${trial.turns.at(-1)?.action ?? ""}”.`,
  malformed: () => "its last answers held no action that can be read.",
  failed: () => "it ended the task itself, but not with the wanted result.",
  stopped: () => "a person stopped it.",
  model_error: () => "the model failed.",
  environment_error: () => "the environment broke.",
};

/** "it used all 9 turns before the task was done. 2 of its actions did nothing." Empty for one that runs or was solved. */
export function failureWords(trial) {
  if (!trial.stop_reason || trial.success) return "";
  const lost = trial.turns.filter((turn) => !turn.is_valid && !turn.is_malformed).length;
  const again = repeatsOf(trial.turns);
  const wasted = [lost ? `${plural(lost, "action")} did nothing` : "", again ? `${plural(again, "turn")} only repeated an earlier one` : ""].filter(Boolean).join(" and ");
  const end = ENDS[trial.stop_reason]?.(trial) ?? `${trial.stop_reason.replaceAll("_", " ")}.`;
  return wasted ? `${end} ${wasted.charAt(0).toUpperCase()}${wasted.slice(1)}.` : end;
}

function repeatsOf(turns) {
  const seen = new Set();
  let count = 0;
  for (const { action, observation } of turns) {
    const key = `${normalised(action)}\u0001${observation}`;
    if (seen.has(key)) count += 1;
    seen.add(key);
  }
  return count;
}

/** The first turn of `after` that did something else than the same turn of `before`: {turn, was, now}, or null. */
export function partingOf(before, after) {
  for (const [at, turn] of after.turns.entries()) {
    const other = before?.turns[at];
    if (!other) return null;
    if (normalised(other.action) !== normalised(turn.action)) return { turn: turn.index, was: other.action, now: turn.action };
  }
  return null;
}

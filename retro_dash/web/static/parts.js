// The parts of an episode that can be labelled, and their names.

/** The parts of an episode in the order in which they are read. */
export function partsOf(episode) {
  const parts = [{ part: "episode", trial: null, turn: null }];
  for (const trial of episode.trials) {
    parts.push({ part: "trial", trial: trial.index, turn: null });
    for (let turn = 1; turn <= countOf(episode, trial); turn += 1) parts.push({ part: "turn", trial: trial.index, turn });
    if (reflectionAfter(episode, trial.index)) parts.push({ part: "reflection", trial: trial.index, turn: null });
  }
  return parts;
}

export const countOf = (episode, trial) => episode.turn_counts?.[trial.index] ?? trial.turns.length;
export const reflectionAfter = (episode, trial) => episode.reflections.find((one) => one.after_trial === trial);

/** "Turn 3 of trial 1", as the bar and screen readers say it. */
export function nameOf({ part, trial, turn }) {
  return { episode: "Whole episode", trial: `Trial ${trial}`, turn: `Turn ${turn} of trial ${trial}`, reflection: `Reflection after trial ${trial}` }[part];
}

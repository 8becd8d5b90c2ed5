// What a history of labels means: which statements stand, and what can be undone and redone.

/** One name for a part of an episode: "episode", "trial 2", "turn 2 7", "reflection 1". */
export const keyOf = ({ part, trial, turn }) => [part, trial, turn].filter((one) => one !== null && one !== undefined).join(" ");

/** Labels of one episode, oldest first. Returns {value(target, name), label(…), newest(…), others(target)} for an annotator. */
export function readLedger(labels, annotator) {
  const roots = new Map();
  const slots = new Map();
  const places = new Map();
  labels.forEach((label, place) => {
    const key = slotOf(label.annotator, label.target, label.name);
    const slot = slots.get(key) ?? { stack: [], newest: null };
    slots.set(key, slot);
    slot.newest = label.id;
    const undone = label.undoes ? roots.get(label.undoes) : null;
    const entry = label.undoes ? { root: undone?.root ?? label, effect: -(undone?.effect ?? 1) } : { root: label, effect: 1 };
    roots.set(label.id, entry);
    slot.stack = slot.stack.filter((one) => one.label !== entry.root);
    if (entry.effect > 0) {
      if (!places.has(entry.root.id)) places.set(entry.root.id, place);
      slot.stack.push({ label: entry.root, place: places.get(entry.root.id) });
      slot.stack.sort((a, b) => a.place - b.place);
    }
  });
  const find = (target, name) => slots.get(slotOf(annotator, target, name));
  const label = (target, name) => find(target, name)?.stack.at(-1)?.label ?? null;
  return {
    label,
    value: (target, name) => label(target, name)?.value ?? null,
    newest: (target, name) => find(target, name)?.newest ?? null,
    others: (target) => [...slots.values()].map((slot) => slot.stack.at(-1)?.label).filter((one) => one && one.annotator !== annotator && keyOf(one.target) === keyOf(target)),
  };
}

const slotOf = (annotator, target, name) => `${annotator}\u0001${name}\u0001${keyOf(target)}`;

const KEPT = 2000;

/**
 * Undo and redo over any number of steps and across episodes. A step makes a statement or takes one back; undoing it
 * turns that statement over again. What it answers is what to send: {target, name, value, undoes}.
 */
export function openSteps(saved, onChange) {
  let { done = [], undone = [], roots = {} } = saved ?? {};

  function changed() {
    done = done.slice(-KEPT);
    const used = new Set([...done, ...undone]);
    roots = Object.fromEntries(Object.entries(roots).filter(([id]) => used.has(id)));
    onChange({ done, undone, roots });
  }

  /** Turn a statement over; `id` is the id of the label that this makes. */
  function flip(rootId, id) {
    const root = roots[rootId];
    const { target, name } = root;
    if (root.isStanding) {
      Object.assign(root, { isStanding: false, undo: id });
      return { target, name, value: null, undoes: rootId };
    }
    root.isStanding = true;
    if (!root.isDead) return { target, name, value: null, undoes: root.undo };
    // The hub redoes nothing that is older than a newer statement: say it again.
    const renamed = (list) => list.map((one) => (one === rootId ? id : one));
    delete roots[rootId];
    roots[id] = { ...root, isDead: false };
    [done, undone] = [renamed(done), renamed(undone)];
    return { target, name, value: root.value };
  }

  return {
    say({ id, target, name, value }) {
      for (const root of Object.values(roots)) if (!root.isStanding) root.isDead = true;
      roots[id] = { target, name, value, isStanding: true };
      done.push(id);
      undone = [];
      changed();
    },
    /** Take back a statement that stands, as a step of its own. */
    takeBack(label, id) {
      roots[label.id] ??= { target: label.target, name: label.name, value: label.value, isStanding: true };
      const request = flip(label.id, id);
      done.push(label.id);
      undone = [];
      changed();
      return request;
    },
    undo: (id) => turn(done, (root) => undone.push(root), id),
    redo: (id) => turn(undone, (root) => done.push(root), id),
    forget(id) {
      done = done.filter((one) => one !== id);
      undone = undone.filter((one) => one !== id);
      changed();
    },
    get undoable() { return done.length; },
    get redoable() { return undone.length; },
  };

  function turn(from, put, id) {
    const rootId = from.pop();
    if (rootId === undefined) return null;
    const request = flip(rootId, id);
    put(roots[rootId] ? rootId : id);
    changed();
    return request;
  }
}

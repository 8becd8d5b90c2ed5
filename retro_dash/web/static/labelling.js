// What an annotator says of the item on the desk: said, taken back, undone, done again, decided, sent until the hub has it.

import { follow, get, post } from "./api.js";
import { store } from "./dom.js";
import { nameOf } from "./parts.js";
import { openSteps, readLedger } from "./ledger.js";
import { words } from "./marks.js";
import { newId, openOutbox } from "./outbox.js";

const WHOLE = { part: "episode", trial: null, turn: null };
const spoken = (name) => name.replace("_", " ");

/**
 * `desk`: {annotator, item, target, queue, judged}. `onChanged()` after every label, `onState(state)` of the sending,
 * `goTo(place)`, `tell(text, who)` beside the labels, `say(text)` to screen readers.
 */
export function openLabelling({ desk, onChanged, onState, goTo, tell, say: read }) {
  const outbox = openOutbox({ onSaved, onRefused, onState });
  const steps = openSteps(store("steps"), (kept) => store("steps", kept));
  const at = (place = desk.target) => ({ episode_id: desk.item.episode.id, ...place });
  const ledger = () => readLedger(desk.item.labels, desk.annotator);
  const asLabel = (request) => ({ undoes: null, ...request, at: new Date().toISOString() });
  const isHere = (episodeId) => desk.item?.episode.id === episodeId;

  function send(request, owner = desk.item) {
    const whole = { annotator: desk.annotator, ...request };
    owner?.labels.push(asLabel(whole));
    outbox.add(whole);
    noteVerdict(owner);
    onChanged();
  }

  function state(request, owner = desk.item) {
    steps.say(request);
    send(request, owner);
  }

  function say(name, value, place = desk.target) {
    state({ id: newId(), target: at(place), name, value, seen: ledger().newest(at(place), name) });
    const text = `${nameOf(place)}: ${name === "tags" ? value.join(", ") || "no tags" : words(name, value)?.[1] ?? name}`;
    tell(text);
    read(text);
  }

  function takeBack(name, place = desk.target) {
    const label = ledger().label(at(place), name);
    if (!label) return;
    const id = newId();
    send({ id, ...steps.takeBack(label, id) });
    tell(`${nameOf(place)}: ${spoken(name)} taken back`);
  }

  /** Say it, or take it back when it stands already. Returns whether it now stands. */
  function toggle(name, value, place = desk.target) {
    const isSame = JSON.stringify(ledger().value(at(place), name)) === JSON.stringify(value);
    if (isSame) takeBack(name, place);
    else say(name, value, place);
    return !isSame;
  }

  function noteVerdict(owner) {
    if (!owner) return;
    const standing = readLedger(owner.labels, desk.annotator).value(WHOLE, "verdict");
    desk.judged[standing ? "add" : "delete"](owner.episode.id);
  }

  function onSaved(labels) {
    if (labels.some((label) => isHere(label.target.episode_id))) onChanged();
    if (!outbox.size) desk.queue.refillSoon();
  }

  /** Somebody said something, here or elsewhere: in the terminal, in another browser. */
  async function hear(episodeId) {
    if (!isHere(episodeId)) return desk.queue?.forget(episodeId);
    const { item } = desk;
    const stored = await get("/labels", { episode: episodeId, history: true }).catch(() => []);
    const known = new Set(item.labels.map((label) => label.id));
    if (stored.every((label) => known.has(label.id))) return;
    const ids = new Set(stored.map((label) => label.id));
    item.labels.splice(0, Infinity, ...stored, ...item.labels.filter((label) => !ids.has(label.id)));
    noteVerdict(item);
    onChanged();
  }
  follow("/events", null, (event) => event.kind === "label_made" && hear(event.episode_id), () => {});
  document.addEventListener("visibilitychange", () => !document.hidden && desk.item && hear(desk.item.episode.id));

  async function onRefused(request, problem) {
    steps.forget(request.id);
    tell(refusalWords(problem), "failure");
    const { episode_id: episodeId } = request.target;
    desk.queue.forget(episodeId);
    if (!isHere(episodeId)) return;
    desk.item = await desk.queue.load(episodeId);
    noteVerdict(desk.item);
    onChanged();
  }

  /** Undo or redo, wherever the step was made. */
  async function turnBack(isUndo) {
    const id = newId();
    const request = isUndo ? steps.undo(id) : steps.redo(id);
    if (!request) return turnBackOnHub(isUndo, id);
    const { episode_id: episodeId } = request.target;
    // Going there first: what was on its way to the screen must not cover it.
    if (!isHere(episodeId)) desk.queue.visit(episodeId);
    const owner = isHere(episodeId) ? desk.item : await desk.queue.load(episodeId).catch(() => null);
    send({ id, ...request }, owner);
    await show(isUndo, request);
  }

  // Older steps than this browser knows.
  async function turnBackOnHub(isUndo, id) {
    if (outbox.size) return tell("Wait until the labels are saved.");
    try {
      const { label } = await post(`/labels/${isUndo ? "undo" : "redo"}`, { annotator: desk.annotator, id });
      desk.queue.forget(label.target.episode_id);
      desk.item = null;
      await show(isUndo, label);
    } catch (problem) {
      tell(problem.message);
    }
  }

  async function show(isUndo, { target, name }) {
    await goTo(target);
    tell(`${isUndo ? "Undone" : "Done again"}: ${spoken(name)}, ${nameOf(target).toLowerCase()}`);
  }

  /** The final word on one label of a part, beside what was decided of its other labels; null takes it back. */
  async function decide(place, name, value) {
    const owner = isHere(place.episode_id) ? desk.item : await desk.queue.load(place.episode_id);
    const own = readLedger(owner.labels, desk.annotator);
    const { [name]: was, ...others } = own.value(place, "adjudication") ?? {};
    const merged = name === "quality" && value && was ? { ...was, ...value } : value;
    const final = merged === null ? others : { ...others, [name]: merged };
    const standing = own.label(place, "adjudication");
    const id = newId();
    if (Object.keys(final).length) state({ id, target: place, name: "adjudication", value: final, seen: own.newest(place, "adjudication") }, owner);
    else if (standing) send({ id, ...steps.takeBack(standing, id) }, owner);
    await outbox.whenEmpty();
  }

  return {
    ledger, say, takeBack, toggle, turnBack, decide, noteVerdict, outbox, steps,
    value: (name, place = desk.target) => ledger().value(at(place), name),
    valueAt: (place, name) => ledger().value(at(place), name),
    vote: (place, value) => state({ id: newId(), target: place, name: "preference", value }, null),
    pending: (episodeId) => outbox.requests().filter((one) => one.target.episode_id === episodeId).map(asLabel),
  };
}

function refusalWords(problem) {
  if (problem.status !== 409 || !("current" in problem.body)) return `Not stored: ${problem.message}`;
  const { current } = problem.body;
  const now = current ? `It now says ${JSON.stringify(current.value)}, by ${current.annotator}.` : "It was taken back.";
  return `Not stored: this label was changed elsewhere in the meantime. ${now}`;
}

// Curate: one item of a queue at a time, everything about it on the screen, labelled with the keyboard alone.

import { get, post } from "../api.js";
import { keysOfCurate } from "../curatekeys.js";
import { fill, h, setText, store } from "../dom.js";
import { drawDrawer } from "../drawer.js";
import { drawItem, nameOf, partsOf } from "../item.js";
import { openKeymap } from "../keymap.js";
import { labelActs } from "../labelacts.js";
import { labelBar } from "../labelbar.js";
import { keyOf, openSteps, readLedger } from "../ledger.js";
import { words } from "../marks.js";
import { newId, openOutbox } from "../outbox.js";
import { drawPairs } from "../pairs.js";
import { openQueue } from "../queue.js";
import { drawQueueBar, endElement } from "../queuebar.js";

export async function draw(frame) {
  const me = await get("/me").catch(() => ({ name: "owner", is_owner: true }));
  let annotator = me.is_owner ? store("annotator") || me.name : me.name;
  let item = null;
  let view = null;
  let target = { part: "episode", trial: null, turn: null };
  let isBlind = store("blind") ?? false;
  let isAuto = store("auto-advance") ?? true;
  let drawing = 0;
  const judged = new Set();

  // What is sent, and what it means for the screen.
  const outbox = openOutbox({ onSaved, onRefused, onState: (state) => bar.state(state) });
  const steps = openSteps(store("steps"), (kept) => store("steps", kept));
  const queue = openQueue({
    annotator: () => annotator, isJudged: (id) => judged.has(id), pending: (id) => outbox.requests().filter((one) => one.target.episode_id === id).map(asLabel),
    onProgress: (page) => queueBar.showProgress(page), onProblem: (problem) => (problem ? showProblem(problem) : clearProblem()),
  });

  const at = (place = target) => ({ episode_id: item.episode.id, ...place });
  const ledger = () => readLedger(item.labels, annotator);
  const asLabel = (request) => ({ undoes: null, ...request, at: new Date().toISOString() });

  function send(request, owner = item) {
    const whole = { annotator, ...request };
    owner?.labels.push(asLabel(whole));
    outbox.add(whole);
    noteVerdict(owner);
    show();
  }

  function say(name, value, place = target) {
    const request = { id: newId(), target: at(place), name, value, seen: ledger().newest(at(place), name) };
    steps.say(request);
    send(request);
    announce(name, value, place);
  }

  function takeBack(name, place = target) {
    const label = ledger().label(at(place), name);
    if (!label) return;
    const id = newId();
    send({ id, ...steps.takeBack(label, id) });
    bar.say(`${nameOf(place)}: ${name.replace("_", " ")} taken back`);
  }

  /** Say it, or take it back when it stands already. Returns whether it now stands. */
  function toggle(name, value, place = target) {
    const isSame = JSON.stringify(ledger().value(at(place), name)) === JSON.stringify(value);
    if (isSame) takeBack(name, place);
    else say(name, value, place);
    return !isSame;
  }

  function announce(name, value, place) {
    const text = `${nameOf(place)}: ${name === "tags" ? value.join(", ") || "no tags" : words(name, value)?.[1] ?? name}`;
    bar.say(text);
    frame.say(text);
  }

  function noteVerdict(owner) {
    if (!owner) return;
    const standing = readLedger(owner.labels, annotator).value({ part: "episode", trial: null, turn: null }, "verdict");
    judged[standing ? "add" : "delete"](owner.episode.id);
  }

  function onSaved(labels) {
    if (item && labels.some((label) => label.target.episode_id === item.episode.id)) show();
    if (!outbox.size) queue.refill();
  }

  async function onRefused(request, problem) {
    steps.forget(request.id);
    const current = problem.body.current;
    const now = current ? ` It now says ${JSON.stringify(current.value)}, by ${current.annotator}.` : "";
    bar.say(problem.status === 409 && "current" in problem.body ? `Not stored: this label was changed elsewhere in the meantime.${now || " It was taken back."}` : `Not stored: ${problem.message}`, "failure");
    queue.forget(request.target.episode_id);
    if (item?.episode.id !== request.target.episode_id) return;
    item = await queue.load(item.episode.id);
    noteVerdict(item);
    show();
  }

  // Moving about.
  const parts = () => partsOf(item.episode);

  function focus(place, options) {
    target = { part: place.part, trial: place.trial ?? null, turn: place.turn ?? null };
    view.focus(target, options);
    show({ barOnly: true });
  }

  async function move(step) {
    const list = parts();
    const here = list.findIndex((one) => keyOf(one) === keyOf(target));
    const to = list[Math.min(list.length - 1, Math.max(0, here + step))];
    if (await view.reach(to)) focus(to);
  }

  function jump(step, part) {
    const list = parts();
    const here = list.findIndex((one) => keyOf(one) === keyOf(target));
    const found = step > 0 ? list.slice(here + 1).find((one) => one.part === part) : list.slice(0, here).findLast((one) => one.part === part);
    focus(found ?? (part === "reflection" ? list.find((one) => one.part === part) : null) ?? target);
  }

  async function open(episodeId, place = { part: "episode" }, options = {}) {
    const mine = ++drawing;
    pairs.end();
    if (episodeId === null) return showEnd();
    const loading = queue.load(episodeId);
    try {
      const loaded = await loading;
      if (mine !== drawing) return;
      item = loaded;
      noteVerdict(item);
      empty.hidden = true;
      stage.hidden = bar.element.hidden = false;
      view = drawItem(stage, item, { ledger, isSaved: (id) => !outbox.has(id), isBlind: () => isBlind, onFocus: focus });
      stage.scrollTop = 0;
      const { filter, order, overlap = 1, overlap_share: share = 1 } = queue.query();
      history.replaceState(null, "", `/curate?${new URLSearchParams({ ...(filter && { filter }), ...(order !== "shuffle" && { order }), ...(overlap > 1 && { overlap }), ...(overlap > 1 && share < 1 && { overlap_share: share }), episode: episodeId })}`);
      frame.crumbs({ text: filter || "All episodes", href: `/curate?${new URLSearchParams(filter ? { filter } : {})}` }, { text: item.episode.task.env }, { text: item.episode.task.id }, { text: `item ${queue.place().at + 1} of this sitting` });
      document.title = `${item.episode.task.instruction.slice(0, 60)} · Curate · Retro Dash`;
      await view.reach({ trial: null, turn: null, ...place });
      focus(place, options);
      frame.say(item.episode.task.instruction);
    } catch (error) {
      if (mine === drawing) showProblem(error);
    }
  }

  async function next() {
    try {
      const following = await queue.next();
      if (following !== undefined) await open(following);
    } catch (problem) {
      showProblem(problem);
    }
  }

  const begin = async (query, episodeId = null) => {
    try {
      await open(await queue.start(query, episodeId));
      queueBar.fail(null);
    } catch (problem) {
      if (problem.status === 422) queueBar.fail(problem);
      else showProblem(problem);
      if (!item) showEnd(problem);
    }
  };

  // Undo and redo, wherever the step was made.
  async function turnBack(isUndo) {
    const id = newId();
    const request = isUndo ? steps.undo(id) : steps.redo(id);
    if (!request) return turnBackOnHub(isUndo, id);
    // Going there first: what was on its way to the screen must not cover it.
    if (item?.episode.id !== request.target.episode_id) queue.visit(request.target.episode_id);
    const owner = item?.episode.id === request.target.episode_id ? item : await queue.load(request.target.episode_id).catch(() => null);
    send({ id, ...request }, owner);
    await goTo(request.target);
    bar.say(`${isUndo ? "Undone" : "Done again"}: ${request.name.replace("_", " ")}, ${nameOf(request.target).toLowerCase()}`);
  }

  // Older steps than this browser knows.
  async function turnBackOnHub(isUndo, id) {
    if (outbox.size) return bar.say("Wait until the labels are saved.");
    try {
      const { label } = await post(`/labels/${isUndo ? "undo" : "redo"}`, { annotator, id });
      queue.forget(label.target.episode_id);
      item = null;
      await goTo(label.target);
      bar.say(`${isUndo ? "Undone" : "Done again"}: ${label.name.replace("_", " ")}, ${nameOf(label.target).toLowerCase()}`);
    } catch (problem) {
      bar.say(problem.message);
    }
  }

  async function goTo(place, options) {
    if (item?.episode.id !== place.episode_id) await open(queue.visit(place.episode_id), place, options);
    else if (await view.reach(place)) focus(place, options);
  }

  // What the keys and buttons do.
  const on = () => item !== null && !stage.hidden;
  const acts = labelActs({
    target: () => target, value: (name, place = target) => ledger().value(at(place), name), say, takeBack, toggle, tell: (text) => bar.say(text), keyOf: (id) => keymap.keysOf(id).split(" ")[0],
    isAuto: () => isAuto, next, undo: () => turnBack(true), redo: () => turnBack(false), note: () => bar.note(), refocus: () => view?.focus(target), edit: (...given) => view.edit(...given),
    nextTurn: () => {
      const list = parts();
      const to = list[list.findIndex((one) => keyOf(one) === keyOf(target)) + 1];
      if (to?.part === "turn" && to.trial === target.trial) move(1);
    },
  });
  const tag = (name) => on() && acts.tag(name);

  const setOption = (name, value) => {
    if (name === "blind") isBlind = value;
    else isAuto = value;
    store(name, value);
    queueBar.setOptions({ isAuto, isBlind });
    if (on()) show();
  };

  const go = {
    forward: next, back, down: () => move(1), up: () => move(-1), trialNext: () => jump(1, "trial"), trialBack: () => jump(-1, "trial"), reflection: () => jump(1, "reflection"), whole: () => focus({ part: "episode" }),
    filter: () => queueBar.focus(), auto: () => setOption("auto-advance", !isAuto), blind: () => setOption("blind", !isBlind), pair: () => pairs.start(),
    review: () => drawer.toggle("review"), disputeNext: () => drawer.step(1), disputeBack: () => drawer.step(-1), tags: () => drawer.toggle("tags"), datasets: () => drawer.toggle("datasets"), import: () => drawer.toggle("import"), keys: () => drawer.toggle("keys"), close: () => drawer.close() || (on() ? focus({ part: "episode" }) : pairs.isOn() && begin(queue.query(), queue.current())),
    left: () => pairs.vote("left"), right: () => pairs.vote("right"), tie: () => pairs.vote("tie"),
  };
  const keymap = openKeymap(keysOfCurate({ acts: { ...acts, ...go }, on, inPair: () => pairs.isOn() }), () => {
    bar.showKeys();
    showTags();
  });
  const bar = labelBar(acts, keymap.keysOf);

  function back() {
    const before = queue.back();
    if (before) open(before);
    else bar.say("This is the first item of this sitting.");
  }

  // The page around it.
  const queueBar = drawQueueBar({
    me, annotator, onQuery: (change) => begin({ ...queue.query(), ...change }), query: () => queue.query(), onPanel: (name) => drawer.toggle(name), onPair: () => pairs.start(),
    onOption: (name, value) => setOption(name, value),
    onAnnotator: (name) => {
      annotator = name;
      judged.clear();
      begin(queue.query(), item?.episode.id);
    },
  });
  const problemLine = h("p", { class: "problem", role: "alert", hidden: true });
  const stage = h("div", { class: "stage-item" });
  const pairBox = h("section", { class: "pair-vote", "aria-label": "Which advice is better?", hidden: true });
  const pairs = drawPairs(pairBox, {
    annotator: () => annotator, keysOf: keymap.keysOf, whenSaved: () => outbox.whenEmpty(),
    onStart: () => {
      drawing += 1;
      item = null;
      stage.hidden = bar.element.hidden = empty.hidden = true;
      frame.crumbs({ text: "Blind votes on reflections" });
    },
    onVote: (place, value) => {
      const request = { id: newId(), target: place, name: "preference", value };
      steps.say(request);
      send(request, null);
    },
    say: frame.say,
  });
  const empty = h("div", { class: "curate-empty", hidden: true });
  const drawer = drawDrawer({
    keymap, query: () => queue.query(), onQuery: (change) => begin({ ...queue.query(), ...change }, item?.episode.id), say: frame.say, refocus: () => view?.focus(target), onImported: () => begin(queue.query()),
    show: (place) => goTo(place, { quiet: true }), decide,
    onTags: (found) => {
      tagSet = found;
      showTags();
    },
  });

  /** The final word on one label of a part, beside what was decided of its other labels; null takes it back. */
  async function decide(place, name, value) {
    const owner = item?.episode.id === place.episode_id ? item : await queue.load(place.episode_id);
    const own = readLedger(owner.labels, annotator);
    const { [name]: was, ...others } = own.value(place, "adjudication") ?? {};
    const merged = name === "quality" && value && was ? { ...was, ...value } : value;
    const final = merged === null ? others : { ...others, [name]: merged };
    const standing = own.label(place, "adjudication");
    const requestId = newId();
    if (Object.keys(final).length) {
      const request = { id: requestId, target: place, name: "adjudication", value: final, seen: own.newest(place, "adjudication") };
      steps.say(request);
      send(request, owner);
    } else if (standing) send({ id: requestId, ...steps.takeBack(standing, requestId) }, owner);
    await outbox.whenEmpty();
  }
  fill(frame.main, h("h1", { class: "sr" }, "Curate"),
    queueBar.element,
    problemLine, stage, pairBox, empty, bar.element, drawer.element);
  frame.main.classList.add("curate-page");

  function showProblem(problem) {
    problemLine.hidden = false;
    setText(problemLine, problem.message);
  }

  function clearProblem() {
    problemLine.hidden = true;
  }

  async function showEnd(problem = null) {
    item = null;
    stage.hidden = bar.element.hidden = true;
    empty.hidden = false;
    const everything = await get("/episodes", { limit: 1 }).catch(() => ({ total: null }));
    if (item) return;
    fill(empty, endElement({ problem, isHomeEmpty: everything.total === 0, progress: queueBar.progress(), onImport: () => drawer.open("import"), onDatasets: () => drawer.open("datasets"), onBack: () => open(queue.current()), onAll: () => begin({ filter: "", order: "shuffle" }) }));
    frame.say("Nothing here waits for you.");
  }

  function show({ barOnly = false } = {}) {
    if (!item || !view) return;
    if (!barOnly) view.show();
    bar.show(target, { value: (place, label) => ledger().value(at(place), label) }, steps);
  }

  let tagSet = { tags: [] };
  const showTags = () => {
    bar.showTags(keymap.tagKeys(tagSet.tags, tag), tag);
    show({ barOnly: true });
  };
  get("/tagset").then((found) => {
    tagSet = found;
    showTags();
  }).catch(() => {});
  const address = new URLSearchParams(location.search);
  const overlap = { ...(address.get("overlap") && { overlap: Number(address.get("overlap")) || 1 }), ...(address.get("overlap_share") && { overlap_share: Number(address.get("overlap_share")) || 0 }) };
  const query = { filter: address.get("filter") ?? "", order: address.get("order") ?? "shuffle", ...overlap };
  queueBar.set(query);
  queueBar.setOptions({ isAuto, isBlind });
  outbox.start();
  await begin(query, address.get("episode"));
  if (address.has("dataset")) drawer.open("datasets");
}

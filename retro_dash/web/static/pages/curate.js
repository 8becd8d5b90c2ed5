// Curate: one item of a queue at a time, everything about it on the screen, labelled with the keyboard alone.

import { get } from "../api.js";
import { keysOfCurate } from "../curatekeys.js";
import { fill, h, setText, store } from "../dom.js";
import { drawDrawer } from "../drawer.js";
import { openWalk } from "../itemwalk.js";
import { openKeymap } from "../keymap.js";
import { labelActs } from "../labelacts.js";
import { labelBar } from "../labelbar.js";
import { openLabelling } from "../labelling.js";
import { drawPairs } from "../pairs.js";
import { openQueue } from "../queue.js";
import { drawQueueBar, endElement } from "../queuebar.js";

export async function draw(frame) {
  const me = await get("/me").catch(() => ({ name: "owner", is_owner: true }));
  const desk = { annotator: me.is_owner ? store("annotator") || me.name : me.name, item: null, target: { part: "episode", trial: null, turn: null }, judged: new Set(), queue: null };
  const choice = { isBlind: store("blind") ?? false, isAuto: store("auto-advance") ?? true };
  const stage = h("div", { class: "stage-item" });
  const problemLine = h("p", { class: "problem", role: "alert", hidden: true });
  const pairBox = h("section", { class: "pair-vote", "aria-label": "Which advice is better?", hidden: true });
  const empty = h("div", { class: "curate-empty", hidden: true });
  const tell = (text, who) => bar.say(text, who);

  // Who does what.
  const labels = openLabelling({ desk, onChanged: () => show(), onState: (state) => bar.state(state), goTo: (place) => walk.goTo(place), tell, say: frame.say });
  const queue = desk.queue = openQueue({
    annotator: () => desk.annotator, isJudged: (id) => desk.judged.has(id), pending: labels.pending,
    onProgress: (page) => queueBar.showProgress(page), onProblem: showProblem,
  });
  const walk = openWalk({
    desk, stage, options: { ledger: labels.ledger, isSaved: (id) => !labels.outbox.has(id), isBlind: () => choice.isBlind },
    onFocus: () => showBar(), onOpening: () => pairs.end(), onOpened, onEnd: () => showEnd(), onProblem: showProblem,
  });
  const on = () => desk.item !== null && !stage.hidden;
  const acts = labelActs({
    target: () => desk.target, value: labels.value, say: labels.say, takeBack: labels.takeBack, toggle: labels.toggle, tell, keyOf: (id) => keymap.keysOf(id).split(" ")[0], isAuto: () => choice.isAuto,
    next, nextTurn: walk.nextTurn, undo: () => labels.turnBack(true), redo: () => labels.turnBack(false), note: () => bar.note(), refocus: walk.refocus, edit: walk.edit,
  });
  const keymap = openKeymap(keysOfCurate({ acts: { ...acts, ...goings() }, on, inPair: () => pairs.isOn() }), () => {
    bar.showKeys();
    showTags();
  });
  const bar = labelBar(acts, keymap.keysOf);
  const queueBar = drawQueueBar({
    me, annotator: desk.annotator, onQuery: (change) => begin({ ...queue.query(), ...change }), query: () => queue.query(), onPanel: (name) => drawer.toggle(name), onPair: () => pairs.start(), onOption: setOption,
    onAnnotator: (name) => {
      desk.annotator = name;
      desk.judged.clear();
      begin(queue.query(), desk.item?.episode.id);
    },
  });
  const pairs = drawPairs(pairBox, { annotator: () => desk.annotator, filter: () => queue.query().filter, keysOf: keymap.keysOf, whenSaved: () => labels.outbox.whenEmpty(), onStart: leaveItem, onVote: labels.vote, say: frame.say });
  const drawer = drawDrawer({
    keymap, episode: () => desk.item?.episode.id ?? null, only: () => (choice.isBlind ? desk.annotator : null), query: () => queue.query(), onQuery: (change) => begin({ ...queue.query(), ...change }, desk.item?.episode.id), say: frame.say, refocus: walk.refocus, onImported: () => begin(queue.query()),
    show: (place) => walk.goTo(place, { quiet: true }), decide: labels.decide, onTags: takeTags,
  });
  fill(frame.main, h("h1", { class: "sr" }, "Curate"), queueBar.element, problemLine, stage, pairBox, empty, bar.element, drawer.element);
  frame.main.classList.add("curate-page");
  stage.hidden = bar.element.hidden = true;

  /** Where keys and buttons lead, by their names in `curatekeys.js`. */
  function goings() {
    const panel = (name) => () => drawer.toggle(name);
    return {
      forward: next, back, down: () => walk.move(1), up: () => walk.move(-1), trialNext: () => walk.jump(1, "trial"), trialBack: () => walk.jump(-1, "trial"), reflection: () => walk.jump(1, "reflection"), whole: () => walk.focus({ part: "episode" }),
      filter: () => queueBar.focus(), auto: () => setOption("auto-advance", !choice.isAuto), blind: () => setOption("blind", !choice.isBlind), pair: () => pairs.start(),
      review: panel("review"), history: panel("history"), disputeNext: () => drawer.step(1), disputeBack: () => drawer.step(-1), tags: panel("tags"), datasets: panel("datasets"), import: panel("import"), keys: panel("keys"),
      close: () => drawer.close() || (on() ? walk.focus({ part: "episode" }) : pairs.isOn() && begin(queue.query(), queue.current())),
      left: () => pairs.vote("left"), right: () => pairs.vote("right"), tie: () => pairs.vote("tie"),
    };
  }

  function setOption(name, value) {
    choice[name === "blind" ? "isBlind" : "isAuto"] = value;
    store(name, value);
    queueBar.setOptions(choice);
    if (on()) show();
  }

  // From item to item

  async function begin(query, episodeId = null) {
    try {
      await walk.open(await queue.start(query, episodeId));
      queueBar.fail(null);
    } catch (problem) {
      if (problem.status === 422) queueBar.fail(problem);
      else showProblem(problem);
      if (!desk.item) showEnd(problem);
    }
  }

  async function next() {
    try {
      const following = await queue.next();
      if (following !== undefined) await walk.open(following);
    } catch (problem) {
      showProblem(problem);
    }
  }

  function back() {
    const before = queue.back();
    if (before) walk.open(before);
    else tell("This is the first item of this sitting.");
  }

  function onOpened(episodeId) {
    const { task } = desk.item.episode;
    const query = queue.query();
    labels.noteVerdict(desk.item);
    empty.hidden = true;
    stage.hidden = bar.element.hidden = false;
    history.replaceState(null, "", `/curate?${new URLSearchParams({ ...addressOf(query), episode: episodeId })}`);
    frame.crumbs({ text: query.filter || "All episodes", href: `/curate?${new URLSearchParams(query.filter ? { filter: query.filter } : {})}` }, { text: task.env }, { text: task.id }, { text: `item ${queue.place().at + 1} of this sitting` });
    document.title = `${task.instruction.slice(0, 60)} · Curate · Retro Dash`;
    frame.say(task.instruction);
    drawer.look();
  }

  function leaveItem() {
    walk.leave();
    desk.item = null;
    stage.hidden = bar.element.hidden = empty.hidden = true;
    frame.crumbs({ text: "Blind votes on reflections" });
  }

  // Showing

  function show() {
    if (!desk.item) return;
    walk.show();
    showBar();
    drawer.look();
  }

  function showBar() {
    if (desk.item) bar.show(desk.target, { value: labels.valueAt }, labels.steps);
  }

  /** A problem, or null when it is over. */
  function showProblem(problem) {
    problemLine.hidden = !problem;
    setText(problemLine, problem?.message ?? "");
  }

  async function showEnd(problem = null) {
    desk.item = null;
    stage.hidden = bar.element.hidden = true;
    empty.hidden = false;
    const everything = await get("/episodes", { limit: 1 }).catch(() => ({ total: null }));
    if (desk.item) return;
    fill(empty, endElement({ problem, isHomeEmpty: everything.total === 0, progress: queueBar.progress(), onImport: () => drawer.open("import"), onDatasets: () => drawer.open("datasets"), onBack: () => walk.open(queue.current()), onAll: () => begin({ filter: "", order: "shuffle" }) }));
    frame.say("Nothing here waits for you.");
  }

  let tagSet = { tags: [] };
  function takeTags(found) {
    tagSet = found;
    showTags();
  }
  function showTags() {
    const tag = (name) => on() && acts.tag(name);
    bar.showTags(keymap.tagKeys(tagSet.tags, tag), tag);
    showBar();
  }

  get("/tagset").then(takeTags).catch(() => {});
  const address = new URLSearchParams(location.search);
  const query = queryOf(address);
  queueBar.set(query);
  queueBar.setOptions(choice);
  labels.outbox.start();
  await begin(query, address.get("episode"));
  if (address.has("dataset")) drawer.open("datasets");
}

/** What of a queue stands in the address: only what differs from the usual. */
function addressOf({ filter, order, overlap = 1, overlap_share: share = 1 }) {
  return { ...(filter && { filter }), ...(order !== "shuffle" && { order }), ...(overlap > 1 && { overlap }), ...(overlap > 1 && share < 1 && { overlap_share: share }) };
}

function queryOf(address) {
  const overlap = { ...(address.get("overlap") && { overlap: Number(address.get("overlap")) || 1 }), ...(address.get("overlap_share") && { overlap_share: Number(address.get("overlap_share")) || 0 }) };
  return { filter: address.get("filter") ?? "", order: address.get("order") ?? "shuffle", ...overlap };
}

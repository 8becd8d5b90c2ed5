// The items of a queue: those that were seen, the one on the screen, and a few that are leased and loaded ahead.

import { get, id, post } from "./api.js";

const AHEAD = 4;
/** With so few ahead more are asked for at once; else soon, so that many labels ask the hub once. */
const FEW = 2;
const SOON_MS = 2000;
/** As many as the hub takes, and short enough for an address. */
const MOST_SKIPPED = 200;
const KEPT_ITEMS = 40;

/** `annotator()`; `isJudged(episodeId)`; `onProgress(page)`, `onProblem(problem|null)`. */
export function openQueue({ annotator, isJudged, pending, onProgress, onProblem }) {
  let query = { filter: "", order: "shuffle" };
  let trail = [];
  let at = -1;
  let ahead = [];
  let work = null;
  let generation = 0;
  let moves = 0;
  let soon = 0;
  const items = new Map();

  /** An episode with every label that was ever said of it, unsaved ones included. */
  function load(episodeId) {
    if (!items.has(episodeId)) {
      const loading = Promise.all([get(`/episodes/${id(episodeId)}`), get("/labels", { episode: episodeId, history: true })]).then(([episode, stored]) => {
        const known = new Set(stored.map((label) => label.id));
        return { episode, labels: [...stored, ...pending(episodeId).filter((label) => !known.has(label.id))] };
      });
      loading.catch(() => items.delete(episodeId));
      items.set(episodeId, loading);
      for (const old of [...items.keys()].slice(0, Math.max(0, items.size - KEPT_ITEMS))) items.delete(old);
    }
    return items.get(episodeId);
  }

  function remember() {
    try {
      sessionStorage.setItem("retro-trail", JSON.stringify({ query, annotator: annotator(), trail, at }));
    } catch {
      // Then going back ends where the page was loaded.
    }
  }

  /** Begin a queue; `episodeId` is the item to show first. Items seen under the same query stay reachable. */
  async function start(wanted, episodeId = null) {
    generation += 1;
    release(ahead);
    const saved = recall();
    const isSame = saved && saved.annotator === annotator() && JSON.stringify(saved.query) === JSON.stringify(wanted);
    query = wanted;
    ahead = [];
    trail = isSame && saved.trail.includes(episodeId) ? saved.trail : episodeId ? [episodeId] : [];
    at = trail.indexOf(episodeId);
    work = null;
    const filled = refill();
    if (at < 0) await filled;
    return at < 0 ? next() : current();
  }

  function recall() {
    try {
      return JSON.parse(sessionStorage.getItem("retro-trail"));
    } catch {
      return null;
    }
  }

  const current = () => (at >= 0 ? trail[at] : null);

  /**
   * The next item, null at the end of the queue, undefined when somebody went elsewhere while it was fetched. Raises the
   * problem when the hub does not answer.
   */
  async function next() {
    const mine = ++moves;
    if (at < trail.length - 1) at += 1;
    else {
      // The first answer may be to a question from before the last verdict.
      for (let asked = 0; !ahead.length && asked < 2; asked += 1) await refill({ isNeeded: true });
      if (mine !== moves) return undefined;
      if (!ahead.length) return null;
      trail.push(ahead.shift());
      at = trail.length - 1;
    }
    remember();
    if (ahead.length < FEW) refill();
    else refillSoon();
    return current();
  }

  function back() {
    if (at <= 0) return null;
    moves += 1;
    at -= 1;
    remember();
    return current();
  }

  /** Make an episode the current item, as an undo does. */
  function visit(episodeId) {
    moves += 1;
    const known = trail.indexOf(episodeId);
    if (known < 0) trail.splice(at + 1, 0, episodeId);
    at = known < 0 ? at + 1 : known;
    remember();
    return episodeId;
  }

  async function refill({ isNeeded = false } = {}) {
    const mine = generation;
    work ??= ask(mine).finally(() => mine === generation && (work = null));
    try {
      await work;
      if (mine === generation) onProblem(null);
    } catch (problem) {
      if (mine === generation) onProblem(problem);
      if (isNeeded) throw problem;
    }
  }

  function refillSoon() {
    soon ||= setTimeout(() => {
      soon = 0;
      refill();
    }, SOON_MS);
  }

  async function ask(mine) {
    // Items that were passed over, or whose verdict is still on its way, would come again.
    const skip = trail.filter((one) => !isJudged(one) || pending(one).length).slice(-MOST_SKIPPED);
    const page = await get("/queue", { annotator: annotator(), ...query, limit: AHEAD + 1, skip });
    if (mine !== generation) return;
    const seen = new Set(trail);
    const found = page.items.map((item) => item.episode_id);
    ahead = found.filter((one) => !seen.has(one) && !isJudged(one)).slice(0, AHEAD);
    release(found.filter((one) => seen.has(one) && one !== current()));
    for (const one of ahead.slice(0, 3)) load(one).catch(() => {});
    onProgress(page);
  }

  function release(ids) {
    if (ids.length) post("/queue/release", { annotator: annotator(), episode_ids: ids }).catch(() => {});
  }

  // What was leased ahead and never shown is free again when the page goes.
  addEventListener("pagehide", () => ahead.length && fetch("/api/v1/queue/release", { method: "POST", keepalive: true, headers: { "content-type": "application/json" }, body: JSON.stringify({ annotator: annotator(), episode_ids: ahead }) }).catch(() => {}));

  return {
    load, start, next, back, visit, refillSoon, current,
    forget: (episodeId) => items.delete(episodeId),
    cached: (episodeId) => items.get(episodeId),
    place: () => ({ at, seen: trail.length }),
    query: () => query,
  };
}

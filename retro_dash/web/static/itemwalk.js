// Walking: from part to part of the item on the desk, and from item to item of the queue.

import { drawItem } from "./item.js";
import { keyOf } from "./ledger.js";
import { partsOf } from "./parts.js";

/** `desk`: {item, target, queue}; `options` go to `drawItem`. `onOpening()` before and `onOpened(episodeId)` after an item came, `onEnd()` when none is left. */
export function openWalk({ desk, stage, options, onFocus, onOpening, onOpened, onEnd, onProblem }) {
  let view = null;
  let drawing = 0;

  function focus(place, how) {
    desk.target = { part: place.part, trial: place.trial ?? null, turn: place.turn ?? null };
    view.focus(desk.target, how);
    onFocus();
  }

  const parts = () => partsOf(desk.item.episode);
  const here = (list) => list.findIndex((one) => keyOf(one) === keyOf(desk.target));

  async function move(step) {
    const list = parts();
    const to = list[Math.min(list.length - 1, Math.max(0, here(list) + step))];
    if (await view.reach(to)) focus(to);
  }

  function jump(step, part) {
    const list = parts();
    const at = here(list);
    const found = step > 0 ? list.slice(at + 1).find((one) => one.part === part) : list.slice(0, at).findLast((one) => one.part === part);
    focus(found ?? (part === "reflection" ? list.find((one) => one.part === part) : null) ?? desk.target);
  }

  /** The next turn of the same trial, where there is one. */
  function nextTurn() {
    const list = parts();
    const to = list[here(list) + 1];
    if (to?.part === "turn" && to.trial === desk.target.trial) move(1);
  }

  async function open(episodeId, place = { part: "episode" }, how = {}) {
    const mine = ++drawing;
    onOpening();
    if (episodeId === null) return onEnd();
    try {
      const loaded = await desk.queue.load(episodeId);
      if (mine !== drawing) return;
      desk.item = loaded;
      view = drawItem(stage, loaded, { ...options, onFocus: focus });
      stage.scrollTop = 0;
      onOpened(episodeId);
      await view.reach({ trial: null, turn: null, ...place });
      focus(place, how);
    } catch (problem) {
      if (mine === drawing) onProblem(problem);
    }
  }

  async function goTo(place, how) {
    if (desk.item?.episode.id !== place.episode_id) await open(desk.queue.visit(place.episode_id), place, how);
    else if (await view.reach(place)) focus(place, how);
  }

  return {
    open, goTo, focus, move, jump, nextTurn,
    /** What is on its way to the screen no longer comes. */
    leave: () => (drawing += 1),
    show: () => view?.show(),
    refocus: () => view?.focus(desk.target),
    edit: (...given) => view.edit(...given),
  };
}

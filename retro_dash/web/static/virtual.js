// Long lists in pieces: a piece is in the page only while it is near the window; its height stays when it goes.

import { h } from "./dom.js";

const PIECE = 25;
const MARGIN = "1200px";

/** Rows 0…count-1 in `element`. `draw(from, to)` gives the nodes of a piece, perhaps later. Returns {reach, end}. */
export function pieces(element, count, rowHeight, draw) {
  const list = Array.from({ length: Math.ceil(count / PIECE) }, (_, index) => {
    const from = index * PIECE;
    const piece = { from, to: Math.min(count, from + PIECE), node: h("div", { class: "piece" }), isIn: false, isAwaited: false, work: null };
    piece.node.style.minHeight = `${(piece.to - from) * rowHeight}px`;
    piece.node.__piece = piece;
    return piece;
  });
  element.replaceChildren(...list.map((piece) => piece.node));
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? seen(target.__piece) : leave(target.__piece);
  }, { rootMargin: MARGIN });
  if (list.length > 2) for (const piece of list) watcher.observe(piece.node);
  else for (const piece of list) enter(piece);

  function seen(piece) {
    piece.isAwaited = false;
    return enter(piece);
  }

  function enter(piece) {
    if (piece.isIn) return piece.work;
    piece.isIn = true;
    piece.work = (async () => {
      const nodes = await draw(piece.from, piece.to);
      if (!piece.isIn) return;
      piece.node.replaceChildren(...nodes);
      piece.node.style.minHeight = "";
    })();
    return piece.work;
  }

  function leave(piece) {
    // What somebody jumps to, or has the focus in, stays.
    if (!piece.isIn || piece.isAwaited || piece.node.contains(document.activeElement)) return;
    piece.isIn = false;
    if (piece.node.childElementCount) piece.node.style.minHeight = `${piece.node.offsetHeight}px`;
    piece.node.replaceChildren();
  }

  return {
    /** Put the piece of a row into the page and return when it is there. */
    reach: async (row) => {
      const piece = list[Math.floor(row / PIECE)];
      if (!piece) return;
      piece.isAwaited = true;
      await enter(piece);
    },
    end: () => watcher.disconnect(),
  };
}

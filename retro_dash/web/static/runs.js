// The list of runs: state, name, pace, one small curve each; and the words and links that every page uses for a run.

import { age, h, keyed, plural, setText } from "./dom.js";
import { duration } from "./metrics.js";

export const STATES = {
  queued: ["environment", "◌", "queued"], running: ["planner", "●", "running"], stalled: ["human", "!", "stalled"], cancelling: ["human", "◍", "stopping"],
  finished: ["success", "✓", "finished"], failed: ["failure", "✕", "failed"], cancelled: ["environment", "■", "stopped"],
};
export const ENDED = new Set(["finished", "failed", "cancelled"]);
const KINDS = { train: "Train", evaluate: "Evaluate", collect: "Collect" };

export const runTitle = (run) => run.name || run.id;
export const runHref = (run) => (run.kind === "evaluate" && run.state === "finished" ? `/results?run=${encodeURIComponent(run.id)}` : `/train?run=${encodeURIComponent(run.id)}`);

/** `onOpen(id)`, `onMove(id, position)`, `onOverlay(id, on)`. Returns {element, show, step}. */
export function runList({ onOpen, onMove, onOverlay }) {
  const list = h("ul", { class: "run-list", "aria-label": "Runs, newest first" });
  let rows = [];
  let selected = null;
  let overlaid = [];

  function show(next, current, overlays) {
    rows = next;
    selected = current;
    overlaid = overlays;
    const waiting = rows.filter((row) => row.position !== null).length;
    keyed(list, rows, (row) => row.run.id, create, (element, row) => element.__update(row, waiting));
  }

  function create(first) {
    const id = first.run.id;
    const mark = h("span", { class: "sign", "aria-hidden": "true" });
    const state = h("span", {});
    const name = h("strong", {});
    const about = h("span", { class: "dim" });
    const pace = h("span", { class: "dim tabular" });
    const spark = h("span", { class: "spark" });
    const overlay = h("input", { type: "checkbox", "aria-label": `Draw ${first.run.name || id} over the others`, title: "Draw over the selected run" });
    overlay.addEventListener("change", () => onOverlay(id, overlay.checked));
    const up = h("button", { type: "button", class: "button link", title: "Sooner (Shift+K)", "aria-label": "Sooner", on: { click: () => onMove(id, up.__to) } }, "↑");
    const down = h("button", { type: "button", class: "button link", title: "Later (Shift+J)", "aria-label": "Later", on: { click: () => onMove(id, down.__to) } }, "↓");
    const link = h("a", { class: "run-link", href: runHref(first.run), on: { click: (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      onOpen(id);
    } } }, h("span", { class: "run-name" }, mark, name, spark), h("span", { class: "small run-facts" }, state, about, pace));
    const grip = h("span", { class: "grip", "aria-hidden": "true", title: "Drag to another place in the queue" }, "⠿");
    const element = h("li", { "data-run": id, on: { dragstart: (event) => drag(event, id), dragover: (event) => over(event, element), dragleave: () => element.classList.remove("drop"), drop: (event) => drop(event, element), dragend: settle } }, link, h("span", { class: "run-side" }, grip, up, down, overlay));
    element.__update = ({ run, about: what, position, done, total, eta_seconds: eta, eta_of: of, spark: values, spark_name: curve }, waiting) => {
      const [who, sign, word] = STATES[run.state] ?? ["environment", "?", run.state];
      mark.className = `sign ${who}`;
      setText(mark, sign);
      setText(name, runTitle(run));
      setText(state, position === null ? word : position === 0 ? "next" : `${position + 1}. in the queue`);
      setText(about, `${KINDS[run.kind]} ${what}`);
      const parts = [];
      if (total && !ENDED.has(run.state)) parts.push(`${done} of ${plural(total, "episode")}`);
      if (eta !== null) parts.push(`${duration(eta)} to go${of ? ` (${of})` : ""}`);
      else if (run.finished_at) parts.push(`${age(run.finished_at)} ago`);
      setText(pace, parts.join(" · "));
      const key = values.join(" ");
      if (spark.dataset.key !== key) {
        spark.dataset.key = key;
        spark.replaceChildren(...(values.length > 1 ? [sparkline(values, curve)] : []));
      }
      element.setAttribute("aria-current", String(run.id === selected));
      overlay.checked = overlaid.includes(run.id);
      overlay.hidden = run.id === selected || values.length < 1;
      up.hidden = position === null || position === 0;
      down.hidden = position === null || position === waiting - 1;
      [up.__to, down.__to] = [position - 1, position + 1];
      const movable = position !== null && waiting > 1;
      element.draggable = movable;
      grip.hidden = !movable;
      element.__position = position;
    };
    return element;
  }

  // A waiting run is dragged to the place of another one.

  let dragged = null;

  function drag(event, id) {
    dragged = id;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", id);
  }

  function over(event, element) {
    if (dragged === null || element.__position === null || element.dataset.run === dragged) return;
    event.preventDefault();
    element.classList.add("drop");
  }

  function drop(event, element) {
    if (dragged === null || element.__position === null) return;
    event.preventDefault();
    onMove(dragged, element.__position);
    settle();
  }

  function settle() {
    dragged = null;
    for (const element of list.children) element.classList.remove("drop");
  }

  /** The run `by` places away from the selected one. */
  function neighbour(by) {
    const at = rows.findIndex((row) => row.run.id === selected);
    return rows[Math.min(rows.length - 1, Math.max(0, at + by))]?.run.id ?? null;
  }

  return { element: list, show, neighbour, row: (id) => rows.find((row) => row.run.id === id) ?? null };
}

const SVG = "http://www.w3.org/2000/svg";

/** A curve as small as a word. */
export function sparkline(values, name, width = 72, height = 18) {
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const points = values.map((value, index) => `${((index / (values.length - 1)) * (width - 2) + 1).toFixed(1)},${(height - 2 - ((value - low) / span) * (height - 4)).toFixed(1)}`).join(" ");
  const svg = document.createElementNS(SVG, "svg");
  const words = `${name}: ${Number(values[0].toPrecision(3))} to ${Number(values.at(-1).toPrecision(3))}`;
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words })) svg.setAttribute(key, value);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", points);
  line.setAttribute("class", name.endsWith("solved") ? "up" : "");
  svg.append(line);
  return svg;
}

/** Filter → dataset → adapters that play → run → adapters → evaluations, each a link. Used wherever a run or an adapter is shown. */
export function lineageParts({ filter, split, dataset_hash: hash, dataset_name: dataset, items, parent, plays, run, adapters, evaluations }) {
  const adapter = (name) => ({ text: `adapter ${name}`, href: `/serving?adapter=${encodeURIComponent(name)}` });
  const what = run.kind === "train" ? plural(items, "episode") : plural(items, "task");
  return [
    filter ? { text: `✎ ${filter}`, href: `/episodes?${new URLSearchParams({ filter })}` } : { text: split ? `split ${split}` : run.kind === "train" ? "all episodes" : "bundled tasks", href: "/episodes" },
    dataset ? { text: `dataset ${dataset} (${what}, ${hash.slice(0, 8)})`, href: `/curate?dataset=${encodeURIComponent(hash)}` } : { text: `${what}${hash ? `, ${hash.slice(0, 8)}` : ""}` },
    parent && { text: `run ${runTitle(parent)}`, href: runHref(parent) },
    ...plays.map(adapter),
    { text: `run ${runTitle(run)}`, href: `/train?run=${encodeURIComponent(run.id)}` },
    ...adapters.map(adapter),
    ...evaluations.map((one) => ({ text: `evaluation ${runTitle(one)}`, href: runHref(one) })),
    ...(run.kind === "train" ? [] : [{ text: "its episodes", href: `/episodes?${new URLSearchParams({ filter: `run:${run.id}` })}` }]),
  ];
}

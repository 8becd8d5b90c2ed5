// The table of episodes: filtered, sorted and paged by the hub, 50 rows at a time.

import { follow, get } from "./api.js";
import { age, button, fill, h, keyed, number, player, plural, setEnabled, setText, sign, signed, store } from "./dom.js";
import { filterLine } from "./filter.js";

const PAGE = 50;
const REFRESH_MS = 4000;
const LABEL_MS = 200;
const COLUMNS = [
  { key: "state", label: "Outcome" }, { key: "env", label: "Env" }, { key: "task", label: "Task" }, { key: "trials", label: "Trials" },
  { key: "gain", label: "Best gain", title: "The most that the reward rose after one reflection" }, { key: "planner", label: "Planner" }, { key: "reflector", label: "Reflector" },
  { key: null, label: "Labels" }, { key: "turns", label: "Turns" }, { key: "created", label: "Age" },
];
const STATES = { solved: ["success", "✓", "solved"], failed: ["failure", "✕", "failed"], running: ["planner", "●", "running"], stopped: ["human", "■", "stopped"], error: ["failure", "!", "error"] };
const QUICK = [["All", ""], ["Failed", "outcome:failed"], ["Helped by a reflection", "gain>0"], ["Running", "outcome:running"]];

/** Draws into `element`. `onOpen(id)`; `query`: {filter, sort, page}. Returns {show(query), move(step), open(), current, neighbours}. */
export function drawList(element, { onOpen, onQuery }) {
  let query = { filter: "", sort: "-created", page: 0 };
  let rows = [];
  let total = 0;
  let selected = null;
  let asked = 0;
  const line = filterLine((text) => text !== query.filter && onQuery({ ...query, filter: text, page: 0 }));
  const quick = h("div", { class: "quick", role: "group", "aria-label": "Saved filters" });
  const train = h("a", { class: "button chip-button" }, "Train on these");
  const evaluate = h("a", { class: "button chip-button" }, "Evaluate on their tasks");
  const label = h("a", { class: "button chip-button" }, "Label these");
  const these = h("div", { class: "these", hidden: true }, train, evaluate, label);
  const head = h("tr", {});
  const body = h("tbody", {});
  const status = h("p", { class: "dim small count", role: "status" }, "Loading episodes …");
  const previous = button("← Newer", () => onQuery({ ...query, page: query.page - 1 }));
  const next = button("Older →", () => onQuery({ ...query, page: query.page + 1 }));
  const table = h("table", { class: "episodes" }, h("caption", { class: "sr" }, "Episodes"), h("thead", {}, head), body);
  const pager = h("div", { class: "pager" }, previous, status, next);
  const empty = h("div", { class: "empty-state", hidden: true });
  fill(element, h("h1", { class: "sr" }, "Episodes"), line.element, h("div", { class: "quick-row" }, quick, these), table, empty, pager);
  previous.hidden = next.hidden = true;
  skeleton();
  get("/filters").then(line.know).catch(() => {});

  function skeleton() {
    fill(body, Array.from({ length: 12 }, () => h("tr", { class: "skeleton-row", "aria-hidden": "true" }, COLUMNS.map(() => h("td", {}, h("i", {}))))));
    body.__byKey = undefined;
  }

  async function show(wanted) {
    query = { ...wanted };
    line.set(query.filter);
    showHead();
    showQuick();
    const mine = ++asked;
    table.setAttribute("aria-busy", "true");
    try {
      const page = await get("/episodes", { filter: query.filter, sort: query.sort, limit: PAGE, offset: query.page * PAGE });
      if (mine !== asked) return;
      line.fail(null);
      ({ rows, total } = page);
      these.hidden = total === 0;
      train.href = `/train?${new URLSearchParams({ new: "1", filter: query.filter })}`;
      label.href = `/curate?${new URLSearchParams(query.filter ? { filter: query.filter } : {})}`;
      evaluate.href = `/results?${new URLSearchParams({ new: "1", filter: query.filter })}`;
      showRows();
    } catch (error) {
      if (mine !== asked) return;
      line.fail(error);
      // Rows of the filter before stay; with none there is nothing to show.
      if (body.__byKey) return;
      table.hidden = true;
      setText(status, "");
      showEmpty(error.status === 422 ? "The filter has a mistake." : "The episodes could not be loaded.");
    } finally {
      table.removeAttribute("aria-busy");
    }
  }

  function showHead() {
    fill(head, COLUMNS.map((column) => {
      const on = column.key !== null && query.sort.replace(/^-/, "") === column.key;
      const down = query.sort.startsWith("-");
      const sort = () => onQuery({ ...query, page: 0, sort: on ? (down ? column.key : `-${column.key}`) : `-${column.key}` });
      return h("th", { scope: "col", class: `col-${column.label.toLowerCase().replace(/\W/g, "-")}`, "aria-sort": on ? (down ? "descending" : "ascending") : null },
        column.key === null ? column.label : h("button", { type: "button", class: "sort", title: column.title, on: { click: sort } }, column.label, h("span", { "aria-hidden": "true" }, on ? (down ? " ↓" : " ↑") : "")));
    }));
  }

  function showQuick() {
    const saved = store("filters") ?? [];
    const isKnown = [...QUICK.map(([, text]) => text), ...saved].includes(query.filter);
    fill(quick,
      [...QUICK, ...saved.map((text) => [text, text])].map(([label, text]) => h("a", { class: "chip", href: `/episodes?${new URLSearchParams(text ? { filter: text } : {})}`, "aria-current": text === query.filter ? "true" : null,
        on: { click: (event) => { event.preventDefault(); onQuery({ ...query, filter: text, page: 0 }); } } }, label)),
      isKnown ? null : button("☆ Save this filter", () => { store("filters", [...saved, query.filter]); showQuick(); }, { class: "link" }),
      saved.includes(query.filter) ? button("★ Forget it", () => { store("filters", saved.filter((one) => one !== query.filter)); showQuick(); }, { class: "link" }) : null);
  }

  function showRows() {
    if (!body.__byKey) fill(body);
    keyed(body, rows, (row) => `${row.id} ${row.state} ${row.trials.length} ${row.best_gain} ${row.turn_count ?? row.turns} ${JSON.stringify(row.labels)}`, (row) => rowElement(row, select, onOpen), (item, row) => {
      item.querySelector("time").textContent = age(row.created_at);
    });
    const from = query.page * PAGE;
    setText(status, total ? `${(from + 1).toLocaleString("en")}–${(from + rows.length).toLocaleString("en")} of ${plural(total, "episode")}` : "");
    previous.hidden = next.hidden = total <= PAGE;
    setEnabled(previous, query.page > 0);
    setEnabled(next, from + rows.length < total);
    table.hidden = !rows.length;
    table.classList.toggle("no-labels", rows.every((row) => !row.labels?.length));
    empty.hidden = true;
    if (!rows.length) showEmpty();
    select(rows.find((row) => row.id === selected)?.id ?? null);
  }

  function showEmpty(why = "No episode matches this filter.") {
    empty.hidden = false;
    fill(empty, query.filter ? [h("p", {}, h("strong", {}, why)), button("Show all episodes", () => onQuery({ ...query, filter: "", page: 0 }), { class: "primary" })]
      : [h("p", {}, h("strong", {}, "No episodes yet.")), h("p", {}, "Everything that is played is kept here: its trials, the reflections between them, and what each reflection gained."),
        h("a", { class: "button primary", href: "/" }, "Play the first one")]);
  }

  // Rows on the screen stay true; new episodes are announced, not pushed in under the eyes.
  async function refresh() {
    if (document.hidden || !rows.length) return;
    const { filter, sort, page } = query;
    const mine = asked;
    const now = await get("/episodes", { filter, sort, limit: PAGE, offset: page * PAGE }).catch(() => null);
    if (!now || mine !== asked) return;
    const byId = new Map(now.rows.map((row) => [row.id, row]));
    rows = rows.map((row) => byId.get(row.id) ?? row);
    showRows();
    const more = now.total - total;
    if (more > 0) fill(status, status.textContent, " · ", button(`${plural(more, "new episode")}`, () => show(query), { class: "link" }));
  }
  setInterval(() => !element.hidden && rows.some((row) => row.state === "running") && refresh(), REFRESH_MS);

  // What somebody says of a row, in the terminal for example, stands in it at once.
  let soon = 0;
  follow("/events", null, ({ kind, episode_id: labelled }) => {
    if (kind !== "label_made" || !rows.some((row) => row.id === labelled)) return;
    soon ||= setTimeout(() => {
      soon = 0;
      refresh();
    }, LABEL_MS);
  }, () => {});
  document.addEventListener("visibilitychange", refresh);

  function select(id) {
    selected = id;
    for (const row of body.children) row.setAttribute("aria-selected", String(row.dataset.id === id));
  }

  function move(step) {
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.id === selected);
    const to = Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step));
    select(rows[to].id);
    const row = body.children[to];
    row.querySelector("a").focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  /** The episode `step` rows away from `id`, on the next page too. */
  async function neighbour(id, step) {
    let at = rows.findIndex((row) => row.id === id) + step;
    if (at < 0 && query.page > 0) {
      await show({ ...query, page: query.page - 1 });
      at = rows.length - 1;
    } else if (at >= rows.length && (query.page + 1) * PAGE < total) {
      await show({ ...query, page: query.page + 1 });
      at = 0;
    }
    if (!rows[at]) return null;
    select(rows[at].id);
    return rows[at].id;
  }

  return { show, move, neighbour, focusFilter: line.focus, open: () => selected && onOpen(selected), select, query: () => query };
}

function rowElement(row, select, onOpen) {
  const [who, mark, word] = STATES[row.state] ?? ["environment", "?", row.state];
  const url = `/episodes?episode=${encodeURIComponent(row.id)}`;
  const open = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    select(row.id);
    onOpen(row.id);
  };
  const labels = Array.isArray(row.labels) ? row.labels : Object.entries(row.labels ?? {}).map(([name, value]) => ({ name, value }));
  return h("tr", { "data-id": row.id, "aria-selected": "false", on: { click: (event) => (event.target.closest("a") || getSelection().toString() ? null : open(event)) } },
    h("td", { class: "col-outcome" }, h("span", { class: `sign ${who}`, "aria-hidden": "true" }, mark), ` ${word}`),
    h("td", { class: "col-env" }, row.env),
    h("td", { class: "col-task" }, h("a", { href: url, on: { click: open } }, row.instruction || row.task_id), h("span", { class: "dim small" }, row.task_id, row.parent_id ? " · fork" : "")),
    h("td", { class: "col-trials" }, trialChips(row.trials)),
    h("td", { class: "col-best-gain" }, gainCell(row.best_gain)),
    h("td", { class: "col-planner", title: row.planner }, sign(player(row.planner, "planner")), row.planner),
    h("td", { class: "col-reflector", title: row.reflector }, sign(player(row.reflector, "reflector")), row.reflector),
    h("td", { class: "col-labels" }, labels.map((label) => h("span", { class: "chip human" }, "✎ ", typeof label.value === "string" ? label.value : label.name))),
    h("td", { class: "col-turns" }, (row.turn_count ?? row.turns).toLocaleString("en")),
    h("td", { class: "col-age" }, h("time", { datetime: row.created_at, title: new Date(row.created_at).toLocaleString() }, age(row.created_at))));
}

/** ✓✕ with a bar as high as the reward. */
export function trialChips(trials) {
  const words = trials.map((trial, index) => `trial ${index + 1}: ${trial.success ? "solved" : trial.stop_reason === null ? "running" : "failed"}, reward ${number(trial.reward)}`).join("; ");
  return h("span", { class: "trial-chips", role: "img", "aria-label": words || "no trials", title: words },
    trials.slice(0, 12).map((trial) => {
      const running = trial.stop_reason === null;
      const bar = h("i", {});
      bar.style.height = `${Math.round(Math.min(1, Math.max(0, trial.reward)) * 100)}%`;
      return h("span", { class: running ? "running" : trial.success ? "success" : "failure" }, bar, h("b", {}, running ? "●" : trial.success ? "✓" : "✕"));
    }), trials.length > 12 ? `+${trials.length - 12}` : null);
}

function gainCell(gain) {
  if (gain === null || gain === undefined) return h("span", { class: "dim" }, "–");
  return h("span", { class: gain > 0 ? "up" : gain < 0 ? "down" : "dim" }, h("span", { class: "sign reflector", "aria-hidden": "true" }, "◆"), signed(gain));
}

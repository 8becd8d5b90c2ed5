// Results: the sentence a reader wants, the curve by trial, the table, the flips; and the same tasks again.

import { get, getPage, id } from "../api.js";
import { age, button, fill, h, keyed, plural, setText } from "../dom.js";
import { evaluationForm } from "../evalform.js";
import { bind } from "../keys.js";
import { figureBoard } from "../figures.js";
import { drawReport } from "../report.js";
import { lineageParts, runTitle, STATES } from "../runs.js";
import { drawPair } from "../sidebyside.js";

const REFRESH_MS = 3000;
const RUNNING = ["queued", "running", "stalled", "cancelling"];

export async function draw(frame) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const report = h("section", { class: "report", "aria-label": "Report" });
  const pair = h("section", { class: "pair-view", "aria-label": "Side by side", hidden: true });
  const form = evaluationForm({ onStarted: (run) => { frame.say("The evaluation is queued"); go({ waiting: run.id }); watch(); } });
  const going = h("ul", { class: "going", "aria-label": "Evaluations that are not finished" });
  const table = h("section", { class: "all-results", "aria-label": "All evaluations" });
  const older = button("Show older evaluations", () => showOlder().catch((error) => say(error.message)), { hidden: true });
  const figures = figureBoard();
  const empty = h("div", { class: "empty-state", hidden: true }, h("p", {}, h("strong", {}, "Nothing was evaluated yet.")),
    h("p", {}, "An evaluation plays the same tasks with two or more methods and reports first, final and average reward, the curve over trials, and which tasks flipped."),
    button("Evaluate the same tasks again", begin, { class: "primary" }));
  const again = button(["Same tasks again ", h("kbd", {}, "N")], begin, { class: "primary" });
  const page = h("div", { class: "results-page", inert: true }, problem, h("div", { class: "tools row results-tools" }, again, going), form.element, pair, report, empty, figures.element, table, older);
  fill(frame.main, page);
  bind("n", "Evaluate the same tasks again", begin);
  bind("j ArrowDown", "Next evaluation", () => step(1));
  bind("k ArrowUp", "Previous evaluation", () => step(-1));
  bind("Escape", "Back to the report", () => go(shown ? { run: shown.run.id } : {}), () => location.search !== "");

  let results = [];
  let next;
  let finished = "";
  let adapters = [];
  let sets = [];
  let published = null;
  let shown = null;

  const address = () => new URLSearchParams(location.search);

  function go(parameters, replace = false) {
    const text = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
    history[replace ? "replaceState" : "pushState"](null, "", text ? `/results?${text}` : "/results");
    return show().catch((error) => say(error.message));
  }

  // What had the focus is hidden now: it goes on where the eyes are.
  async function begin() {
    await go(shown ? { new: 1, like: shown.run.id } : { new: 1 });
    form.element.querySelector("select").focus();
  }

  async function showOlder() {
    const before = table.querySelectorAll("tr:not(.published) th a").length;
    await more();
    await show();
    if (older.hidden) table.querySelectorAll("tr:not(.published) th a")[before]?.focus();
  }

  function step(by) {
    const at = results.findIndex((one) => one.run.id === shown?.run.id);
    const next = results[Math.min(results.length - 1, Math.max(0, at + by))];
    if (next) go({ run: next.run.id }, true);
  }

  function say(message) {
    if (message) page.inert = false;
    problem.hidden = !message;
    setText(problem, message);
  }

  async function load() {
    finished = finishedOf(await get("/runs/rows", { kind: "evaluate" }));
    const [page, ...others] = await Promise.all([getPage("/results"), get("/adapters/rows"), get("/results/sets")]);
    [adapters, sets] = others;
    const newest = new Set(page.rows.map((one) => one.run.id));
    results = [...page.rows, ...results.filter((one) => !newest.has(one.run.id))];
    if (next === undefined) next = page.next;
    published ??= await (await fetch("/ui/published.json")).json();
  }

  async function more() {
    const page = await getPage(`/results${next}`);
    results = [...results, ...page.rows];
    next = page.next;
  }

  async function show() {
    say("");
    const wanted = address();
    form.element.hidden = !wanted.has("new");
    pair.hidden = !wanted.has("a");
    while (next && wanted.has("run") && !results.some((one) => one.run.id === wanted.get("run"))) await more();
    shown = results.find((one) => one.run.id === wanted.get("run")) ?? (wanted.has("run") ? null : results[0] ?? null);
    report.hidden = wanted.has("new") || wanted.has("a") || !shown;
    empty.hidden = results.length > 0 || wanted.has("new");
    again.hidden = wanted.has("new") || !results.length;
    figures.element.hidden = wanted.has("new") || wanted.has("a") || !sets.length;
    if (!figures.element.hidden) figures.show(sets, published, shown?.run.id);
    older.hidden = !next;
    drawAll(table, results, adapters, published, shown?.run.id, (run) => go({ run }));
    page.inert = false;
    document.title = "Results · Retro Dash";
    if (wanted.has("new")) {
      frame.crumbs({ text: "Results", href: "/results" }, { text: "Same tasks again" });
      const like = results.find((one) => one.run.id === wanted.get("like"));
      return form.open({ filter: wanted.get("filter"), dataset: wanted.get("dataset"), arms: wanted.get("arms"), like });
    }
    if (wanted.has("a")) {
      frame.crumbs({ text: "Results", href: "/results" }, shown && { text: runTitle(shown.run), href: `/results?run=${id(shown.run.id)}` }, { text: "Side by side" });
      return drawPair(pair, wanted.get("a"), wanted.get("b"), { onClose: () => go(shown ? { run: shown.run.id } : {}) });
    }
    if (wanted.has("run") && !shown) say("This evaluation is not finished, or is not there. Its progress is on the Train page.");
    if (!shown) return frame.crumbs({ text: "Results" });
    const run = shown.run.id;
    get(`/runs/${id(run)}/lineage`).then((lineage) => run === shown?.run.id && frame.crumbs({ text: "Results", href: "/results" }, ...lineageParts(lineage))).catch(() => {});
    await drawReport(report, shown, adapters);
  }

  function drawGoing(rows) {
    const open = rows.filter(({ run }) => RUNNING.includes(run.state) || run.id === address().get("waiting"));
    keyed(going, open, ({ run }) => run.id, ({ run }) => h("li", {}, h("a", { href: `/train?run=${id(run.id)}` })), (item, { run, done, total }) => {
      const [, mark, word] = STATES[run.state];
      setText(item.firstChild, `${mark} ${runTitle(run)} ${word}${total && run.state === "running" ? `, ${done} of ${total} episodes` : ""}`);
    });
  }

  let timer = 0;
  async function watch() {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      const rows = await get("/runs/rows", { kind: "evaluate" });
      drawGoing(rows);
      if (finishedOf(rows) !== finished) {
        const wanted = address();
        await load();
        if (!wanted.has("new") && !wanted.has("a")) await show();
      }
    } catch (error) {
      if (error.status === 0) say(error.message);
    }
    timer = setTimeout(watch, REFRESH_MS);
  }

  document.addEventListener("visibilitychange", watch);
  addEventListener("popstate", () => show().catch((error) => say(error.message)));
  // The curve has the colours of the theme that it was drawn in.
  new MutationObserver(() => shown && !report.hidden && drawReport(report, shown, adapters)).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  try {
    await load();
    await Promise.all([show(), watch()]);
  } catch (error) {
    say(error.message);
    timer = setTimeout(watch, REFRESH_MS);
  }
}

const finishedOf = (rows) => rows.filter(({ run }) => run.state === "finished").map(({ run }) => run.id).join(" ");
const ENVS = { hotpotqa: "HotpotQA", alfworld: "ALFWorld", intercode_sql: "InterCode SQL", intercode_bash: "InterCode Bash" };

/** Every evaluation as rows of the papers' main table, the published ones under them and marked. */
function drawAll(element, results, adapters, published, current, onOpen) {
  const about = Object.fromEntries(adapters.map((row) => [row.adapter.name, row.about]));
  const head = h("tr", {}, ["Method", "Environment", "IR", "FR", "AR", "Tasks", "Preset", "When"].map((text) => h("th", { scope: "col", title: { IR: "score of the first trial", FR: "score of the final trial", AR: "mean over all trials" }[text] ?? null }, text)));
  const ours = results.flatMap(({ run, report }) => report.arms.map((arm) => {
    const scores = arm[report.measure];
    const link = h("a", { href: `/results?run=${id(run.id)}`, on: { click: (event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); onOpen(run.id); } } }, arm.arm.name);
    const presets = [...new Set([arm.arm.planner, arm.arm.reflector].map((name) => about[name]).filter(Boolean))].join(", ");
    return h("tr", { class: run.id === current ? "current" : "" }, h("th", { scope: "row" }, link, h("span", { class: "dim small" }, ` ${report.model}`)), h("td", {}, ENVS[report.env] ?? report.env, h("span", { class: "dim small" }, ` ${report.measure}`)),
      [scores.initial, scores.final, scores.average].map(cell), h("td", {}, String(report.tasks)), h("td", {}, presets || h("span", { class: "dim" }, "untrained")), h("td", { class: "dim" }, `${age(report.finished_at)} ago`));
  }));
  const theirs = (published?.rows ?? []).map((row) => h("tr", { class: "published" }, h("th", { scope: "row" }, row.method, h("span", { class: "dim small" }, ` ${row.backbone}`)), h("td", {}, ENVS[row.env], h("span", { class: "dim small" }, ` ${row.measure}`)),
    [row.ir, row.fr, row.ar].map((value) => h("td", { class: "tabular" }, value.toFixed(1))), h("td", {}, { hotpotqa: "100", alfworld: "134", intercode_sql: "100" }[row.env]), h("td", { colspan: 2 }, h("span", { class: "chip" }, "published"))));
  const open = element.querySelector("details")?.open ?? false;
  fill(element,
    results.length ? [h("h2", {}, "All evaluations"), h("div", { class: "table-box", tabindex: "0", role: "region", "aria-label": "All evaluations" }, h("table", { class: "results" }, h("thead", {}, head.cloneNode(true)), h("tbody", {}, ours)))] : null,
    published ? h("details", { class: "published-box", open }, h("summary", {}, `Published numbers: ${published.source} (${plural(published.rows.length, "row")})`), h("p", { class: "dim small" }, published.note),
      h("div", { class: "table-box", tabindex: "0", role: "region", "aria-label": "Published numbers" }, h("table", { class: "results" }, h("thead", {}, head.cloneNode(true)), h("tbody", {}, theirs)))) : null);
}

export function cell(interval) {
  const text = (value) => (100 * value).toFixed(1);
  return h("td", { class: "tabular" }, text(interval.mean), h("span", { class: "dim small" }, ` ${text(interval.low)}–${text(interval.high)}`));
}

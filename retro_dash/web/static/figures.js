// The papers' figures over our own evaluations: only methods that played the very same tasks stand in one figure.

import { plotly } from "./charts.js";
import { button, fill, h, isExpert, plural, store } from "./dom.js";

const HUES = ["planner", "il", "reflector", "expert", "human", "success", "failure", "dim"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "star"];
const TERM_HUE = { IL: "il", RL: "rl", "IL + RL": "reflector", imported: "expert" };
const TERM_ORDER = ["IL", "RL", "IL + RL", "imported"];
const SHOWN_PUBLISHED = ["RetroAct", "Reflexion"];
const percent = (value) => (100 * value).toFixed(1);
const isModel = (name) => !isExpert(name) && !name.startsWith("scripted");

/** Returns {element, show}. `show(sets, published, runId)`: the sets of `/results/sets`, and which run is in front. */
export function figureBoard() {
  const chosen = { set: null, published: true, ...store("figures") };
  const pick = h("select", { id: "rd-figure-set", on: { change: () => { chosen.set = pick.value; draw(); } } });
  const theirs = button("Published numbers", () => { chosen.published = !chosen.published; store("figures", { published: chosen.published }); draw(); }, { class: "toggle" });
  const board = h("div", { class: "figures" });
  const element = h("section", { class: "figure-board", "aria-label": "Figures" }, h("h2", {}, "Figures"),
    h("div", { class: "tools row" }, h("label", { for: "rd-figure-set", class: "small" }, "Same tasks"), pick, theirs), board);
  let sets = [];
  let published = null;
  let drawn = "";

  function show(nextSets, nextPublished, runId) {
    sets = nextSets;
    published = nextPublished;
    const own = sets.find((set) => set.contenders.some((one) => one.run_id === runId));
    if (own && own.contenders.length) chosen.set = own.key;
    if (!sets.some((set) => set.key === chosen.set)) chosen.set = sets[0]?.key ?? null;
    fill(pick, sets.map((set) => h("option", { value: set.key, selected: set.key === chosen.set }, `${plural(set.tasks, `${set.env} task`)}, ${set.trials} trials, ${set.measure}, seeds ${set.seeds.join(" ")} · ${plural(set.contenders.length, "method")}`)));
    draw();
  }

  function draw() {
    const set = sets.find((one) => one.key === chosen.set);
    theirs.setAttribute("aria-pressed", String(chosen.published));
    const key = JSON.stringify([set, chosen.published, document.documentElement.dataset.theme]);
    if (!set || key === drawn) return;
    drawn = key;
    const claims = chosen.published ? published : null;
    const made = [trialFigure(set, claims), roleFigure(set, claims), termFigure(set, claims), agentFigure(set, claims), lambdaFigure(set, claims)];
    const missing = made.filter((one) => typeof one === "string");
    fill(board, made.filter((one) => one instanceof Node), missing.length ? h("div", { class: "figure-missing dim small" }, h("p", {}, "These tasks cannot fill yet:"), h("ul", {}, missing.map((one) => h("li", {}, one)))) : null);
  }

  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  return { element, show };
}

function figure(key, title, note, content, claim) {
  return h("figure", { class: "chart", "data-figure": key }, h("figcaption", {}, h("strong", {}, title), h("span", { class: "dim small" }, note)), content,
    claim ? h("p", { class: "small claim" }, h("span", { class: "chip" }, "published"), " ", claim) : null);
}

// Score by trial, every method --------------------------------------------------------------------------------------

function trialFigure(set, published) {
  const plot = h("div", { class: "plot tall", role: "img", "aria-label": set.contenders.map((one) => `${one.arm.name}: ${one.by_trial.map((at) => percent(at.mean)).join(", ")}`).join("; ") });
  const css = colours();
  const traces = set.contenders.map((one, index) => ({
    x: one.by_trial.map((_, at) => at + 1), y: one.by_trial.map((at) => 100 * at.mean), name: one.arm.name, type: "scatter", mode: "lines+markers",
    line: { color: css(HUES[index % HUES.length]), width: 2 }, marker: { symbol: SYMBOLS[index % SYMBOLS.length], size: 7 }, hovertemplate: `%{y:.1f} ${one.arm.name}<extra></extra>`,
    error_y: { type: "data", symmetric: false, array: one.by_trial.map((at) => 100 * (at.high - at.mean)), arrayminus: one.by_trial.map((at) => 100 * (at.mean - at.low)), thickness: 1, width: 2 },
  }));
  const claims = (published?.rows ?? []).filter((row) => row.env === set.env && SHOWN_PUBLISHED.includes(row.method));
  for (const [index, row] of claims.entries()) traces.push({ x: [1, set.trials], y: [row.ir, row.fr], name: "published", legendgroup: "published", showlegend: index === 0, type: "scatter", mode: "lines+markers", line: { color: css("dim"), width: 1, dash: "dot" }, marker: { symbol: "circle-open", size: 7 }, hovertemplate: `%{y:.1f} ${row.method} ${row.backbone}, published ${row.measure}<extra></extra>` });
  drawPlot(plot, traces, { xaxis: { dtick: 1, title: { text: "trial" }, range: [0.8, set.trials + 0.2] }, yaxis: { range: [-2, 104] } }, 300);
  return figure("trials", `Every method, ${set.measure === "reward" ? "reward" : "solved"} by trial`, "mean and 95 % interval over tasks", plot, claims.length ? `dotted: first and final of 10 trials of ${[...new Set(claims.map((row) => row.method))].join(" and ")} with ${[...new Set(claims.map((row) => row.backbone))].join(", ")}; ${claims[0].measure}, other models and tasks (${published.source}).` : null);
}

// Trained planner × trained reflector -------------------------------------------------------------------------------

function roleFigure(set, published) {
  const grids = [...new Set(set.contenders.flatMap((one) => [one.planner?.run_id, one.reflector?.run_id]).filter(Boolean))].map((run) => grid(set, run));
  const best = grids.sort((a, b) => b.filter(Boolean).length - a.filter(Boolean).length)[0];
  if (!best || best.filter(Boolean).length < 3) return "Trained planner × trained reflector: evaluate the base, each adapter of one run alone, and both.";
  const cells = best.map((one) => (one ? 100 * one.final.mean : null));
  const [low, high] = [Math.min(...cells.filter((one) => one !== null)), Math.max(...cells.filter((one) => one !== null))];
  const cell = (index) => {
    const one = best[index];
    if (!one) return h("td", { class: "dim" }, "not evaluated");
    const made = h("td", { class: "heat tabular", title: one.arm.name, tabindex: "0" }, h("strong", {}, percent(one.final.mean)), h("span", { class: "small" }, `${percent(one.final.low)}–${percent(one.final.high)}`), h("span", { class: "small" }, one.arm.name));
    made.style.setProperty("--heat", String(high > low ? (cells[index] - low) / (high - low) : 0.5));
    return made;
  };
  const table = h("table", { class: "grid2" }, h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "● base planner"), h("th", { scope: "col" }, "● trained planner"))),
    h("tbody", {}, h("tr", {}, h("th", { scope: "row" }, "◆ base reflector"), cell(0), cell(1)), h("tr", {}, h("th", { scope: "row" }, "◆ trained reflector"), cell(2), cell(3))));
  return figure("roles", "Who is trained", "final trial, mean and 95 % interval", table, published?.figures.roles);
}

/** base, planner alone, reflector alone, both; of one run, beside the same untrained players. */
function grid(set, run) {
  const base = set.contenders.find((one) => !one.planner && !one.reflector && isModel(one.arm.planner));
  const of = (training) => training?.run_id === run;
  return [
    base,
    set.contenders.find((one) => of(one.planner) && !one.reflector && (!base || one.arm.reflector === base.arm.reflector)),
    set.contenders.find((one) => of(one.reflector) && !one.planner && (!base || one.arm.planner === base.arm.planner)),
    set.contenders.find((one) => of(one.planner) && of(one.reflector)),
  ];
}

// Imitation, policy gradient, both ----------------------------------------------------------------------------------

function termFigure(set, published) {
  const trained = set.contenders.filter((one) => one.planner);
  const terms = new Set(trained.map((one) => one.planner.terms));
  if (!terms.has("IL") || !(terms.has("RL") || terms.has("IL + RL"))) return "Imitation against reinforcement: evaluate adapters of an imitation run and of an RL run.";
  const base = set.contenders.filter((one) => !one.planner && !one.reflector && isModel(one.arm.planner)).slice(0, 1);
  const rows = [...base, ...trained.sort((a, b) => TERM_ORDER.indexOf(a.planner.terms) - TERM_ORDER.indexOf(b.planner.terms))].map((one) => ({
    one, group: one.planner?.terms ?? "untrained", hue: TERM_HUE[one.planner?.terms] ?? "dim", what: one.planner && (one.reflector ? "both roles" : "planner only") }));
  return figure("terms", "Imitation and reinforcement", "final trial, mean and 95 % interval", intervals(rows), published?.figures.terms);
}

// One agent or two --------------------------------------------------------------------------------------------------

function agentFigure(set, published) {
  const trained = set.contenders.filter((one) => one.planner && one.reflector);
  const single = trained.filter((one) => one.planner.is_shared && one.arm.planner === one.arm.reflector);
  const multi = trained.filter((one) => !one.planner.is_shared && one.arm.planner !== one.arm.reflector);
  if (!single.length || !multi.length) return "One agent or two: evaluate a run with a shared adapter and one with an adapter for each role.";
  const rows = [...multi.map((one) => ({ one, group: "two agents", hue: "planner", what: one.planner.method })), ...single.map((one) => ({ one, group: "one agent", hue: "reflector", what: one.planner.method }))];
  return figure("agents", "One agent or two", "final trial, mean and 95 % interval", intervals(rows), published?.figures.agents);
}

function intervals(rows) {
  return h("ol", { class: "intervals" }, rows.map(({ one, group, hue, what }) => {
    const bar = h("i", { class: "span" });
    const dot = h("i", { class: "dot" });
    for (const part of [bar, dot]) part.style.setProperty("--hue", `var(--${hue})`);
    bar.style.left = `${100 * one.final.low}%`;
    bar.style.width = `${Math.max(0.5, 100 * (one.final.high - one.final.low))}%`;
    dot.style.left = `${100 * one.final.mean}%`;
    return h("li", {}, h("span", {}, h("strong", {}, group), h("span", { class: "dim small" }, ` ${[one.arm.name, what].filter(Boolean).join(" · ")}`)), h("span", { class: "track", "aria-hidden": "true" }, bar, dot),
      h("span", { class: "tabular" }, percent(one.final.mean), h("span", { class: "dim small" }, ` ${percent(one.final.low)}–${percent(one.final.high)}`)));
  }));
}

// λ -----------------------------------------------------------------------------------------------------------------

function lambdaFigure(set, published) {
  const ours = set.contenders.filter((one) => one.planner && one.planner.il_coefficient !== null).sort((a, b) => a.planner.il_coefficient - b.planner.il_coefficient);
  if (new Set(ours.map((one) => one.planner.il_coefficient)).size < 2) return "Weight of the imitation term (λ): evaluate RL runs with different loss.il_coefficient.";
  const css = colours();
  const parts = [["IR", "initial", "dim"], ["FR", "final", "planner"], ["AR", "average", "reflector"]];
  const plot = h("div", { class: "plot tall", role: "img", "aria-label": ours.map((one) => `λ ${one.planner.il_coefficient}: FR ${percent(one.final.mean)}`).join("; ") });
  const traces = parts.map(([name, part, hue], index) => ({
    x: ours.map((one) => one.planner.il_coefficient), y: ours.map((one) => 100 * one[part].mean), name, type: "scatter", mode: "lines+markers", line: { color: css(hue), width: 2 }, marker: { symbol: SYMBOLS[index], size: 8 },
    error_y: { type: "data", symmetric: false, array: ours.map((one) => 100 * (one[part].high - one[part].mean)), arrayminus: ours.map((one) => 100 * (one[part].mean - one[part].low)), thickness: 1, width: 3 } }));
  const claims = published?.lambda ?? null;
  for (const [index, [name, , hue]] of (claims ? parts : []).entries()) traces.push({ x: claims.rows.map((row) => row.lambda), y: claims.rows.map((row) => row[name.toLowerCase()]), name: `${name} (published)`, type: "scatter", mode: "lines+markers", line: { color: css(hue), width: 1, dash: "dot" }, marker: { symbol: `${SYMBOLS[index]}-open`, size: 7 } });
  drawPlot(plot, traces, { xaxis: { title: { text: "λ" } }, yaxis: {} }, 300);
  return figure("lambda", "Weight of the imitation term, λ", "mean and 95 % interval over tasks", plot, claims?.note);
}

// Plotly ------------------------------------------------------------------------------------------------------------

function colours() {
  const css = getComputedStyle(document.documentElement);
  return (name) => css.getPropertyValue(`--${name}`).trim();
}

async function drawPlot(plot, traces, axes, height) {
  const Plotly = await plotly();
  const css = colours();
  const axis = { gridcolor: css("line"), zerolinecolor: css("line"), tickfont: { size: 11, color: css("dim") }, automargin: true };
  const titled = (given) => ({ ...axis, ...given, title: { font: { size: 11, color: css("dim") }, standoff: 4, ...given.title } });
  await Plotly.react(plot, traces, {
    height, margin: { l: 44, r: 10, t: 24, b: 34 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12, color: css("ink-2") }, hovermode: "x",
    hoverlabel: { bgcolor: css("surface"), bordercolor: css("line-strong"), font: { color: css("ink") } }, legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", font: { size: 11 } },
    xaxis: titled(axes.xaxis), yaxis: titled(axes.yaxis),
  }, { displayModeBar: false, responsive: true });
}

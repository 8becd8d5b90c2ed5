// One evaluation: sentence, curve by trial, table, flips.

import { id } from "./api.js";
import { fill, h, plural } from "./dom.js";
import { plotly } from "./charts.js";

const HUES = ["dim", "planner", "il", "reflector", "expert", "human"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "star"];
const MOST_OPEN = 2;
const points = (value) => Math.abs(100 * value).toFixed(1);
const signedPoints = (value) => (100 * value).toFixed(1).replace("-", "−");

/** The method that differs most from the first. */
const telling = (report) => report.arms.filter((arm) => arm.compared).sort((a, b) => Math.abs(b.compared.difference.mean) - Math.abs(a.compared.difference.mean))[0];

/** "RetroAct beats base by 9.2 points, 95 % interval 4.1 to 14.0, on 89 alfworld tasks." */
export function sentence(report) {
  const [first] = report.arms;
  const best = telling(report);
  const where = `on ${plural(report.tasks, `${report.env} task`)}`;
  if (!best) return `${first.arm.name} ends at ${points(first[report.measure].final.mean)} points of ${report.measure} ${where}.`;
  const { mean, low, high } = best.compared.difference;
  const interval = `95\u00a0% interval ${signedPoints(low)} to ${signedPoints(high)}, ${where}`;
  if (low > 0) return `${best.arm.name} beats ${first.arm.name} by ${points(mean)} points, ${interval}.`;
  if (high < 0) return `${best.arm.name} falls behind ${first.arm.name} by ${points(mean)} points, ${interval}.`;
  return `${best.arm.name} and ${first.arm.name} cannot be told apart: ${mean >= 0 ? "+" : "−"}${points(mean)} points, ${interval}.`;
}

export async function drawReport(element, { run, report }, adapters) {
  const about = Object.fromEntries(adapters.map((row) => [row.adapter.name, row.about]));
  const plot = h("div", { class: "plot tall", role: "img", "aria-label": curveWords(report) });
  fill(element, h("h1", { class: "sentence" }, sentence(report)),
    h("p", { class: "dim" }, `${report.env}, ${report.trials} trials, seeds ${report.seeds.join(", ")}, ${report.measure}, model ${report.model}.`, report.tasks * report.seeds.length < 30 ? " Few tasks: the intervals are wide." : ""),
    h("div", { class: "report-top" },
      h("figure", { class: "chart" }, h("figcaption", {}, h("strong", {}, `${report.measure === "reward" ? "Reward" : "Solved"} by trial`), h("span", { class: "dim small" }, "mean and 95 % interval over tasks")), plot),
      h("div", { class: "table-box", tabindex: "0", role: "region", "aria-label": "Methods" }, methodTable(report, about))),
    flips(run, report));
  await drawCurve(plot, report);
}

function methodTable(report, about) {
  const interval = ({ mean, low, high }) => h("td", { class: "tabular" }, (100 * mean).toFixed(1), h("span", { class: "dim small" }, ` ${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)}`));
  return h("table", { class: "results" }, h("caption", { class: "sr" }, "Methods of this evaluation"),
    h("thead", {}, h("tr", {}, [["Method"], ["IR", "first trial"], ["FR", "final trial"], ["AR", "all trials"], ["Against first", "final trial"]].map(([text, meaning]) => h("th", { scope: "col" }, text, meaning ? h("span", { class: "meaning" }, meaning) : null)))),
    h("tbody", {}, report.arms.map((arm) => {
      const scores = arm[report.measure];
      const difference = arm.compared?.difference;
      return h("tr", {}, h("th", { scope: "row" }, arm.arm.name, h("span", { class: "players small dim" }, player("●", arm.arm.planner, about), " ", player("◆", arm.arm.reflector, about)), arm.errors ? h("span", { class: "small human-text" }, ` ${arm.errors} broken`) : null),
        interval(scores.initial), interval(scores.final), interval(scores.average),
        difference ? h("td", { class: `tabular ${difference.low > 0 ? "up" : difference.high < 0 ? "down" : ""}` }, `${difference.mean >= 0 ? "+" : "−"}${points(difference.mean)}`) : h("td", { class: "dim" }, "–"));
    })));
}

const player = (mark, name, about) => (about[name] ? h("a", { href: `/serving?adapter=${id(name)}` }, `${mark} ${name} (${about[name]})`) : h("span", {}, `${mark} ${name}`));

function flips(run, report) {
  const compared = report.arms.filter((arm) => arm.compared);
  if (!compared.length) return null;
  // Of many methods the one that the sentence is about is unfolded.
  const isOpen = (arm) => compared.length <= MOST_OPEN || arm === telling(report);
  return h("section", { class: "flips", "aria-label": "Flips" }, compared.map((arm) => h("details", { class: "flip-arm", open: isOpen(arm) },
    h("summary", {}, h("h2", {}, `${arm.arm.name}: ${plural(arm.compared.solved.length, "task")} flipped to solved, ${arm.compared.broken.length} broke`)),
    flipList(run, arm.compared.solved, "success", "✓ solved now"), flipList(run, arm.compared.broken, "failure", "✕ broke"),
    arm.compared.solved.length + arm.compared.broken.length ? null : h("p", { class: "dim" }, "Every task ended the same way with both."))));
}

function flipList(run, list, who, word) {
  if (!list.length) return null;
  return h("ul", { class: "flip-list" }, list.map(([task, before, after]) => h("li", {}, h("span", { class: `chip ${who}` }, word), h("span", { class: "mono flip-task", title: task }, task.replace(/ seed \d+$/, "")),
    h("a", { href: `/episodes?episode=${id(before)}` }, "before"), h("a", { href: `/episodes?episode=${id(after)}` }, "after"),
    h("a", { class: "both", href: `/results?${new URLSearchParams({ run: run.id, a: before, b: after })}` }, "side by side"))));
}

const curveWords = (report) => report.arms.map((arm) => `${arm.arm.name}: ${arm[report.measure].by_trial.map((one) => (100 * one.mean).toFixed(0)).join(", ")}`).join("; ");

async function drawCurve(plot, report) {
  const Plotly = await plotly();
  const css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue(`--${name}`).trim();
  const traces = report.arms.flatMap((arm, index) => {
    const curve = arm[report.measure].by_trial;
    const x = curve.map((_, at) => at + 1);
    const hue = colour(HUES[index % HUES.length]);
    const y = (part) => curve.map((one) => 100 * one[part]);
    return [
      { x: [...x, ...[...x].reverse()], y: [...y("high"), ...y("low").reverse()], fill: "toself", fillcolor: hue, opacity: 0.12, line: { width: 0 }, hoverinfo: "skip", showlegend: false, type: "scatter", mode: "lines" },
      { x, y: y("mean"), name: arm.arm.name, mode: "lines+markers", type: "scatter", line: { color: hue, width: 2 }, marker: { symbol: SYMBOLS[index % SYMBOLS.length], size: 8 }, hovertemplate: `%{y:.1f} ${arm.arm.name}<extra></extra>` },
    ];
  });
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), tickfont: { size: 11, color: colour("dim") }, automargin: true };
  await Plotly.react(plot, traces, {
    height: 300, margin: { l: 44, r: 10, t: 24, b: 34 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12, color: colour("ink-2") }, hovermode: "x", uirevision: report.run_id,
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line-strong"), font: { color: colour("ink") } }, legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom" },
    xaxis: { ...axis, dtick: 1, title: { text: "trial", font: { size: 11, color: colour("dim") } }, range: [0.8, report.trials + 0.2] }, yaxis: { ...axis, range: [-2, 102] },
  }, { displayModeBar: false, responsive: true });
}

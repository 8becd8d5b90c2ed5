// Live charts. Every one is drawn once and from then on only told its new numbers, so zoom, hover and hidden curves stay.

import { button, fill, h, setText, store } from "./dom.js";
import { allCharts, firstCharts, matches, round, smooth, split, style } from "./metrics.js";

const PLOTLY = "/ui/vendor/plotly.min.js";
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset", scrollZoom: false };
const SYMBOLS = ["circle", "square", "diamond", "x", "triangle-up", "star"];
const FADE = ["1", "0.55", "0.45", "0.4", "0.35", "0.3"];

let loading = null;
export function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", { src: PLOTLY, on: { load: () => resolve(globalThis.Plotly), error: () => reject(new Error("The chart library could not be loaded. Reload the page.")) } });
    document.head.append(script);
  });
  return loading;
}

/** `onPoint({run, step, time, metric})` when a point is pressed. Returns {element, show, wanted, closeUps, learn}. */
export function chartBoard({ onPoint }) {
  const chosen = { smoothing: 0.6, log: false, x: "step", more: [], ...store("charts") };
  const places = new Map();
  let runs = [];
  let names = [];
  let search = "";
  const board = h("div", { class: "charts" });
  const waiting = h("p", { class: "dim charts-waiting" }, "Curves appear here as soon as the worker writes its first numbers.");
  const more = h("div", { class: "chips more-charts" });
  const slider = h("input", { type: "range", id: "rd-smoothing", min: 0, max: 0.98, step: 0.02, value: chosen.smoothing });
  slider.addEventListener("input", () => change({ smoothing: Number(slider.value) }));
  const find = h("input", { type: "search", id: "rd-metric", placeholder: "entropy, reward …", autocomplete: "off" });
  find.addEventListener("input", () => { search = find.value.toLowerCase(); showMore(); });
  const log = toggle("log axis", chosen.log, (on) => change({ log: on }));
  const time = toggle("by time", chosen.x === "time", (on) => change({ x: on ? "time" : "step" }));
  const reset = button("Whole extent", () => { for (const place of places.values()) globalThis.Plotly?.relayout(place.plot, { "xaxis.autorange": true, "yaxis.autorange": true }); }, { class: "link", title: "Undo every zoom (a double click on one chart does it there)" });
  const tools = h("div", { class: "tools row chart-tools" },
    h("label", { for: "rd-smoothing", class: "small" }, "Smoothing"), slider, log, time, reset,
    h("span", { class: "metric-search" }, h("label", { for: "rd-metric", class: "sr" }, "Find a metric"), find));
  const element = h("section", { class: "chart-board", "aria-label": "Curves" }, tools, more, waiting, board);
  const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => globalThis.Plotly && target.isConnected && target.data && globalThis.Plotly.Plots.resize(target)));
  new MutationObserver(() => draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });

  function change(next) {
    Object.assign(chosen, next);
    store("charts", chosen);
    draw();
  }

  function toggle(label, on, act) {
    const made = button(label, () => {
      const now = made.getAttribute("aria-pressed") !== "true";
      made.setAttribute("aria-pressed", String(now));
      act(now);
    }, { class: "toggle", "aria-pressed": String(on) });
    return made;
  }

  /** Tell which metrics there are. */
  function learn(run, known) {
    names = known;
    const first = firstCharts(run, names);
    const every = allCharts(names);
    shown = [...new Set([...first, ...chosen.more])].map((key) => every.find((chart) => chart.key === key)).filter(Boolean);
    for (const [key, place] of places) {
      if (shown.some((chart) => chart.key === key)) continue;
      sizes.unobserve(place.plot);
      globalThis.Plotly?.purge(place.plot);
      place.figure.remove();
      places.delete(key);
    }
    showMore(first);
  }
  let shown = [];
  let always = [];

  function showMore(first = always) {
    always = first;
    const every = allCharts(names).filter((chart) => !first.includes(chart.key));
    const found = every.filter((chart) => chosen.more.includes(chart.key) || (search ? `${chart.title} ${chart.key}`.toLowerCase().includes(search) : !chart.names));
    fill(more, found.slice(0, 24).map((chart) => {
      const on = chosen.more.includes(chart.key);
      return button([on ? "✓ " : "+ ", chart.title], () => {
        chosen.more = on ? chosen.more.filter((key) => key !== chart.key) : [...chosen.more, chart.key];
        store("charts", chosen);
        if (runs[0]) learn(runs[0].run, names);
        element.dispatchEvent(new CustomEvent("rd-wanted"));
        draw();
      }, { class: "chip-button", "aria-pressed": String(on) });
    }), search && !found.length ? h("span", { class: "dim small" }, "No metric has this in its name.") : null);
  }

  const wanted = () => names.filter((name) => shown.some((chart) => matches(chart, name)));

  /** What is looked at more closely: [{names, start, stop}] of every chart that is zoomed in, by steps. */
  function closeUps() {
    if (chosen.x !== "step") return [];
    return shown.flatMap((chart) => {
      const axis = places.get(chart.key)?.plot.layout?.xaxis;
      if (!axis || axis.autorange !== false) return [];
      return [{ names: names.filter((name) => matches(chart, name)), start: Math.floor(axis.range[0]), stop: Math.ceil(axis.range[1]) }];
    });
  }

  /** `runs`: [{run, curves}], the first one in front. */
  function show(next) {
    runs = next;
    draw();
  }

  let drawing = null;
  async function draw() {
    for (const chart of shown) makeRoom(chart); // Before the library is there, so that nothing moves when it is.
    waiting.hidden = places.size > 0;
    if (drawing) return void (drawing = "again");
    drawing = "now";
    try {
      const Plotly = await plotly();
      for (const chart of shown) await drawChart(Plotly, chart);
    } catch (error) {
      setText(waiting, error.message);
      waiting.hidden = false;
    }
    const again = drawing === "again";
    drawing = null;
    if (again) draw();
  }

  function makeRoom(chart) {
    if (places.has(chart.key) || !tracesOf(chart).length) return;
    const plot = h("div", { class: "plot", role: "img" });
    const caption = h("figcaption", {}, h("strong", {}, chart.title), h("span", { class: "dim small" }));
    const figure = h("figure", { class: "chart", "data-chart": chart.key }, caption, plot);
    places.set(chart.key, { plot, caption, figure, hover: null });
    board.append(figure);
  }

  async function drawChart(Plotly, chart) {
    const place = places.get(chart.key);
    const traces = tracesOf(chart);
    if (!place || !traces.length) return;
    const { plot } = place;
    if (!plot.data) {
      await Plotly.newPlot(plot, traces, layoutOf(chart, traces), CONFIG);
      sizes.observe(plot);
      plot.on("plotly_hover", (event) => (place.hover = event.points[0]?.x));
      plot.on("plotly_relayout", (change) => "xaxis.range[0]" in change && element.dispatchEvent(new CustomEvent("rd-wanted")));
      plot.on("plotly_unhover", () => (place.hover = null));
      plot.on("plotly_click", (event) => {
        const point = event.points[0];
        const [run, step, at, metric] = point.customdata ?? [];
        if (run) onPoint({ run, step, time: at, metric });
      });
    } else {
      await Plotly.react(place.plot, traces, layoutOf(chart, traces), CONFIG);
      if (place.hover !== null && place.plot.matches(":hover")) Plotly.Fx.hover(place.plot, { xval: place.hover }, "xy");
    }
    const words = traces.filter((trace) => trace.latest).map((trace) => `${trace.name} ${trace.latest}`).join(" · ");
    setText(place.caption.lastChild, words);
    place.plot.setAttribute("aria-label", `${chart.title}: ${words}`);
  }

  function tracesOf(chart) {
    const css = getComputedStyle(document.documentElement);
    const made = [];
    for (const [index, { run, curves }] of runs.entries()) {
      const own = curves.filter((curve) => matches(chart, curve.name) && curve.values.length);
      // A term that is zero all along is no term of this method.
      const real = own.filter((curve) => curve.values.some((value) => value !== 0));
      for (const curve of real.length ? real : own) made.push(...curveTraces(curve, run, index, css, chart));
    }
    return made;
  }

  function curveTraces(curve, run, index, css, chart) {
    const look = style(curve.name);
    const colour = css.getPropertyValue(`--${look.hue}`).trim() || css.getPropertyValue("--ink").trim();
    const x = chosen.x === "time" ? curve.times.map((at) => new Date(at * 1000)) : curve.steps;
    const customdata = curve.steps.map((step, at) => [run.id, step, curve.times[at], curve.name]);
    const label = (chart.names ? split(curve.name).filter(Boolean).join(" · ") : look.label) + (runs.length > 1 ? ` · ${run.name || run.id}` : "");
    const isShort = curve.values.length < 40;
    const calm = isShort && chosen.smoothing === 0 ? curve.values : smooth(curve.values, chosen.smoothing);
    const line = { color: colour, dash: look.dash, width: index ? 1.5 : 2 };
    const main = { x, y: calm, customdata, name: label, line, mode: isShort || index ? "lines+markers" : "lines", type: "scatter", opacity: Number(FADE[index] ?? 0.3),
      marker: { size: index ? 5 : 4, symbol: SYMBOLS[index % SYMBOLS.length], color: colour }, latest: round(curve.values.at(-1)), hovertemplate: `%{y:.4g} ${label}<extra></extra>`, uid: `${run.id} ${curve.name}` };
    if (!chosen.smoothing) return [main];
    const raw = { x, y: curve.values, customdata, name: `${label} (raw)`, line: { color: colour, width: 1 }, mode: "lines", type: "scatter", opacity: 0.22 * main.opacity, hoverinfo: "skip", showlegend: false, uid: `${run.id} ${curve.name} raw` };
    return [raw, main];
  }

  function layoutOf(chart, traces) {
    const legend = traces.filter((trace) => trace.showlegend !== false).length > 1;
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(`--${name}`).trim();
    const axis = { gridcolor: colour("line"), zerolinecolor: colour("line-strong"), linecolor: colour("line-strong"), tickfont: { size: 11, color: colour("dim") }, automargin: true };
    return {
      height: 224, margin: { l: 44, r: 10, t: legend ? 22 : 6, b: 30 }, uirevision: `${chart.key} ${chosen.x} ${chosen.log}`, hovermode: "x", dragmode: "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12, color: colour("ink-2") },
      hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line-strong"), font: { color: colour("ink") } },
      showlegend: legend, legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", font: { size: 11 } },
      xaxis: { ...axis, title: { text: chosen.x === "time" ? "" : "step", font: { size: 11, color: colour("dim") }, standoff: 4 }, type: chosen.x === "time" ? "date" : "linear" },
      yaxis: { ...axis, type: chosen.log ? "log" : "linear", ...(chart.share && !chosen.log ? { range: [0, 1.02], tickformat: ".0%" } : {}) },
    };
  }

  return { element, show, learn, wanted, closeUps };
}

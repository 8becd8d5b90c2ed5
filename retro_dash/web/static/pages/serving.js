// Serving: the engine, what it serves, every adapter with where it came from and what it scored.

import { adapterCard } from "../adaptercard.js";
import { importForm } from "../adapterimport.js";
import { get, id, post } from "../api.js";
import { fill, h, keyed, setText, store } from "../dom.js";
import { engineCard } from "../enginecard.js";
import { bind } from "../keys.js";
import { planCard } from "../plancard.js";

const REFRESH_MS = 2000;

export async function draw(frame) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const engine = engineCard();
  const list = h("ul", { class: "adapters" });
  const empty = h("div", { class: "empty-state", hidden: true },
    h("p", {}, h("strong", {}, "No adapters yet.")), h("p", {}, "A training run publishes one for the planner and one for the reflector. They are offered here the moment they are whole."),
    h("a", { class: "button primary", href: "/train?new=1" }, "Train one"));
  const plan = planCard();
  const importer = importForm({ onDone: (adapter) => { frame.say(`${adapter.name} was imported`); refresh(); } });
  // It appears when the hub has answered: empty cards that fill would push the list about.
  const page = h("div", { class: "serving-page", inert: true },
    h("section", { class: "adapter-list", "aria-labelledby": "rd-adapters" }, h("h1", { id: "rd-adapters" }, "Adapters"), list, empty),
    h("div", { class: "serving-side" }, engine.element, plan.element, importer));
  fill(frame.main, problem, page);
  frame.crumbs({ text: "Serving" });
  document.title = "Serving · Retro Dash";
  bind("j ArrowDown", "Next adapter", () => step(1));
  bind("k ArrowUp", "Previous adapter", () => step(-1));
  bind("l", "Load or unload the adapter under the focus", () => document.activeElement.closest(".adapter")?.querySelector(".load").click());
  bind("i", "Import an adapter from a folder", () => { importer.open = true; importer.querySelector("input").focus(); });

  const wanted = new URLSearchParams(location.search).get("adapter");
  const busy = new Map();
  let served = [];
  let status = null;
  let scrolled = false;

  function step(by) {
    const cards = [...list.children];
    const at = cards.indexOf(document.activeElement.closest(".adapter"));
    cards[Math.min(cards.length - 1, Math.max(0, at < 0 ? 0 : at + by))]?.querySelector("h2 a").focus();
  }

  async function press(name, verb) {
    busy.set(name, verb);
    show();
    try {
      status = await post(`/adapters/${id(name)}/${verb}`);
      frame.say(`${name} is ${verb === "load" ? "loaded" : "unloaded"}`);
      say("");
    } catch (error) {
      say(error.message);
    }
    busy.delete(name);
    await refresh().catch(() => {});
  }

  function choose(name, role) {
    store("play", { ...store("play"), [role]: name });
    frame.say(`${name} is the ${role} on the Play page`);
    show();
  }

  function say(message) {
    problem.hidden = !message;
    setText(problem, message);
  }

  let rows = null;
  function show() {
    engine.show(status);
    if (!rows) return;
    empty.hidden = rows.length > 0;
    keyed(list, rows, (row) => row.adapter.name, (row) => adapterCard(row, { press, choose }), (card, row) => card.__update(row, { served, status, busy: busy.get(row.adapter.name), chosen: store("play") ?? {} }));
    const target = wanted && !scrolled && [...list.children].find((card) => card.dataset.name === wanted);
    if (target) {
      scrolled = true;
      target.scrollIntoView({ block: "center" });
      target.querySelector("h2 a").focus({ preventScroll: true });
    }
  }

  async function refresh() {
    let machine, runs;
    [status, rows, machine, runs] = await Promise.all([get("/status"), get("/adapters/rows"), get("/machine"), get("/runs/rows")]);
    served = status.engine.state === "ready" ? status.engine.load?.adapters ?? (await get("/policies")).planners.filter((one) => one.available).map((one) => one.name) : [];
    plan.show(status, machine, runs);
    page.inert = false;
    show();
  }

  let timer = 0;
  async function watch() {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      await refresh();
      if (problem.dataset.lost) say("");
      delete problem.dataset.lost;
    } catch (error) {
      problem.dataset.lost = "1";
      say(error.message);
    }
    timer = setTimeout(watch, REFRESH_MS);
  }
  document.addEventListener("visibilitychange", watch);
  await watch();
}

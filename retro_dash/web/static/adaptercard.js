// An adapter: where it came from, what it scored, whether it is served, and who starts with it.

import { id } from "./api.js";
import { age, button, fill, h, setEnabled, setText, sign } from "./dom.js";

export const ROLES = { planner: ["planner"], reflector: ["reflector"], both: ["planner", "reflector"] };

/** `press(name, verb)` loads or unloads, `choose(name, role)` makes it the default. `__update(row, state)` shows what changed. */
export function adapterCard(first, { press, choose }) {
  const { adapter } = first;
  const role = ROLES[adapter.role][0];
  const state = h("span", { class: "chip" });
  const load = button("Load", () => press(adapter.name, load.dataset.verb), { class: "load primary" });
  const defaults = ROLES[adapter.role].map((one) => [one, button(`Default ${one}`, () => choose(adapter.name, one), { class: "default", title: `The Play page starts with it as ${one}` })]);
  const scores = h("div", { class: "scores small" });
  const trouble = h("p", { class: "small human-text", hidden: true });
  const lineage = h("p", { class: "small lineage" },
    first.is_bundled ? h("span", {}, "ships with Retro Dash") : first.filter ? h("a", { href: `/episodes?${new URLSearchParams({ filter: first.filter })}` }, `✎ ${first.filter}`) : adapter.run_id ? h("span", {}, adapter.run_id.startsWith("import") ? "imported" : "all episodes") : h("span", {}, "imported"),
    first.dataset_name ? h("a", { href: `/curate?dataset=${id(first.dataset_hash)}` }, `dataset ${first.dataset_name}`) : first.dataset_hash ? h("span", {}, `dataset ${first.dataset_hash.slice(0, 8)}`) : null,
    adapter.run_id && !adapter.run_id.startsWith("import") ? h("a", { href: `/train?run=${id(adapter.run_id)}` }, `run ${first.run_name}${first.about ? ` (${first.about})` : ""}`) : null,
    h("span", {}, adapter.is_full_weights ? "full weights" : `LoRA on ${adapter.base_model}`), h("span", {}, `${age(adapter.created_at)} ago`));
  const card = h("li", { class: "adapter", "data-name": adapter.name },
    h("div", { class: "adapter-head" }, h("h2", {}, sign(role, `${adapter.role}:`), h("a", { class: "mono", href: `/serving?adapter=${id(adapter.name)}` }, adapter.name)), state),
    lineage, trouble, scores,
    h("div", { class: "tools row" }, load, defaults.map(([, one]) => one),
      h("a", { class: "button quiet", href: `/results?${new URLSearchParams({ new: "1", arms: `,${adapter.name}`, ...(first.filter ? { filter: first.filter } : {}) })}` }, "Test on the same tasks")));
  card.__update = (row, { served, status, busy, chosen }) => {
    const on = served.includes(adapter.name);
    const ready = status?.engine.state === "ready";
    state.className = `chip ${on ? "success" : row.problem ? "failure" : ""}`;
    setText(state, busy ? `◌ ${busy === "load" ? "loading" : "unloading"} …` : on ? "● served" : row.problem ? "✕ cannot be served" : "○ not loaded");
    load.dataset.verb = on ? "unload" : "load";
    setText(load, on ? "Unload" : "Load");
    load.classList.toggle("primary", !on);
    setEnabled(load, ready && !busy && (on || !row.problem));
    load.title = ready ? (on ? "Requests in flight finish" : "The engine serves it by its name, beside the base") : "The engine is not ready";
    for (const [one, pressed] of defaults) {
      const is = chosen[one] === adapter.name;
      setText(pressed, `${is ? "✓ Default" : "Make default"} ${one}`);
      pressed.setAttribute("aria-pressed", String(is));
    }
    trouble.hidden = !row.problem;
    setText(trouble, row.problem ?? "");
    const key = JSON.stringify(row.scores);
    if (scores.dataset.key !== key) {
      scores.dataset.key = key;
      fill(scores, row.scores.length ? row.scores.slice(0, 4).map((score) => h("a", { class: "chip", href: `/results?run=${id(score.run_id)}` }, `${score.env} ${score.arm}: ${(100 * score.final).toFixed(1)}`, score.difference === null ? null : h("span", { class: score.difference > 0 ? "up" : score.difference < 0 ? "down" : "dim" }, ` ${score.difference < 0 ? "−" : "+"}${Math.abs(100 * score.difference).toFixed(1)}`))) : h("span", { class: "dim" }, "Not evaluated yet."));
    }
  };
  return card;
}

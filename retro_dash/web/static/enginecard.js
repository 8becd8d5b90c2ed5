// The engine as it is now: state, model, load, and what to do when it does not serve.

import { fill, h, setText } from "./dom.js";
import { bytes } from "./metrics.js";

const STATE = { ready: ["success", "●", "ready"], starting: ["human", "◌", "starting"], restarting: ["human", "◌", "restarting"], pausing: ["human", "◍", "making room"], paused: ["human", "◫", "paused"], stopped: ["environment", "○", "stopped"], failed: ["failure", "✕", "failed"] };
const HELP = {
  stopped: ["No engine runs, so no model can play. Scripted experts, stored episodes, curation and training work without one.", "retro-dash web --engine embedded"],
  failed: ["The engine could not be kept running. Its log says why; nothing that was played is lost.", "retro-dash doctor"],
};

/** Returns {element, show(status)}. */
export function engineCard() {
  const state = h("span", { class: "chip" });
  const model = h("strong", { class: "mono" });
  const detail = h("p", { class: "dim" });
  const help = h("div", { class: "notice human", hidden: true });
  const facts = h("dl", { class: "engine-facts" });
  const history = [];
  const element = h("section", { class: "engine-card panel", "aria-label": "Engine" }, h("div", { class: "run-title" }, h("h2", {}, "Engine"), state, model), detail, help, facts);
  function show(status) {
    if (!status) return;
    const { engine } = status;
    const [who, mark, word] = STATE[engine.state] ?? ["environment", "?", engine.state];
    state.className = `chip ${who}`;
    setText(state, `${mark} ${word}`);
    setText(model, engine.model ?? "no model");
    setText(detail, [engine.detail, engine.url].filter(Boolean).join(" · "));
    const [sentence, command] = HELP[engine.state] ?? [];
    help.hidden = !sentence;
    if (sentence && help.dataset.key !== engine.state) {
      help.dataset.key = engine.state;
      fill(help, h("p", {}, sentence), h("p", {}, h("code", {}, command)));
    }
    const load = engine.load ?? {};
    if (load.tokens_per_second !== undefined) history.push(load.tokens_per_second);
    if (history.length > 60) history.shift();
    const known = [["Tokens per second", load.tokens_per_second === undefined ? null : Math.round(load.tokens_per_second).toLocaleString("en")], ["Running", load.running], ["Waiting", load.waiting],
      ["Cached tokens", load.kv_cache_tokens?.toLocaleString("en")], ["Keys and values", load.kv_cache_bytes === undefined ? null : bytes(load.kv_cache_bytes) + (load.kv_limit_bytes ? ` of ${bytes(load.kv_limit_bytes)}` : "")],
      ["Prompt tokens from cache", load.prefix_hit_rate === undefined ? null : `${Math.round(load.prefix_hit_rate * 100)} %`], ["Weights", load.dtype && `${load.dtype} on ${load.device}`], ["Copies in memory", load.loaded_copies?.length]];
    fill(facts, known.filter(([, value]) => value !== null && value !== undefined).map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", { class: "tabular" }, String(value)))));
  }
  return { element, show };
}

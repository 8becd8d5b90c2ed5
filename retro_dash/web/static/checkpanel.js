// What the hub says of a run before it starts: findings, how much and how long, and the same as a command.

import { button, fill, h, keyed, setEnabled, setText } from "./dom.js";
import { bytes, duration } from "./metrics.js";

const MARKS = { ok: ["success", "✓", ""], note: ["human", "!", "Note: "], stop: ["failure", "✕", "Stops the run: "] };

/** `onStart()`. Returns {element, show(check), fail(message), problem(message), busy(on), starting(on)}. */
export function checkPanel({ onStart }) {
  let isStarting = false;
  let mayStart = false;
  const findings = h("ul", { class: "findings", "aria-label": "Findings", "aria-live": "polite" });
  const facts = h("dl", { class: "forecast" });
  const command = h("code", { class: "command-line mono" });
  const toml = h("pre", { class: "mono", tabindex: "0", "aria-label": "The same as a file for the command line" });
  const start = button("Start", onStart, { class: "primary wide start" });
  setEnabled(start, false);
  const line = h("p", { class: "problem", role: "alert", hidden: true });
  const copy = button("Copy both", copyBoth, { class: "link" });
  const element = h("aside", { class: "panel check-panel", "aria-label": "Check and start" }, h("h2", {}, "4 · Check"), line, findings, facts,
    h("h2", {}, "The same on the command line"), command, h("p", { class: "dim small" }, "with this train.toml:"), toml, copy, h("h2", {}, "5 · Start"), start);

  function show({ toml: file, command: words, forecast, findings: found }) {
    problem("");
    keyed(findings, found, (one) => one.level + one.text, finding);
    fill(facts, factsOf(forecast).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]), h("dt", {}, ""), h("dd", { class: "dim" }, "Tokens are recorded ids where there are some, else characters ÷ 4."));
    setText(command, words);
    setText(toml, file);
    allow(!found.some((one) => one.level === "stop"));
  }

  function finding({ level, text }) {
    const [who, mark, word] = MARKS[level];
    return h("li", { class: who }, h("span", { class: "sign", "aria-hidden": "true" }, mark), h("span", { class: "sr" }, word), text);
  }

  function allow(may) {
    mayStart = may;
    setEnabled(start, mayStart && !isStarting);
  }

  function problem(message) {
    line.hidden = !message;
    setText(line, message);
  }

  async function copyBoth() {
    await navigator.clipboard.writeText(`${command.textContent}\n\n# train.toml\n${toml.textContent}`);
    setText(copy, "✓ Copied");
    setTimeout(() => setText(copy, "Copy both"), 1500);
  }

  return {
    element, show, problem,
    fail: (message) => { problem(message); allow(false); },
    busy: (on) => (on ? element.setAttribute("aria-busy", "true") : element.removeAttribute("aria-busy")),
    starting: (on) => {
      isStarting = on;
      setText(start, on ? "Starting …" : "Start");
      allow(mayStart);
    },
  };
}

function factsOf(forecast) {
  const many = (count) => count.toLocaleString("en");
  const rows = Object.entries(forecast.rows).map(([kind, count]) => `${many(count)} ${kind}`).join(", ");
  return [["Samples", rows || "none"], ["Tokens", `${many(forecast.tokens)}, of which ${many(forecast.trained_tokens)} trained, ${many(forecast.tokens - forecast.trained_tokens)} masked`],
    ["Steps", `${many(forecast.steps)} (${many(forecast.step_tokens)} tokens)`], ["Time", `about ${duration(forecast.seconds)}`], ["Memory", bytes(forecast.bytes)]];
}

// What can be done with a run: save and stop, stop at once, resume, extend, clone.

import { id, post } from "./api.js";
import { button, h, setEnabled, setText } from "./dom.js";
import { ENDED } from "./runs.js";

const SURE_MS = 5000;
const SAID = { stop: "The run saves and ends", kill: "The run is ended", resume: "The run is queued again" };

/** `onChanged(run)`, `onClone(run)`, `onOpen(run)` for a new run, `onProblem(message)`. Returns {element, show, stop, extend}. */
export function runVerbs({ frame, onChanged, onClone, onOpen, onProblem, onPressed }) {
  let run = null;
  let sure = 0;
  let key = "";
  const stop = button(["Save and stop ", h("kbd", {}, "X")], () => act("stop", "cancel"), { title: "Write a checkpoint and end; Resume goes on from there" });
  const kill = button("Stop at once", killed, { class: "quiet", title: "End it without saving: Resume goes on from the last checkpoint that it wrote" });
  const resume = button("Resume", () => act("resume", "resume"), { title: "Go on from the newest checkpoint" });
  const epochs = h("input", { id: "rd-extend-epochs", type: "number", min: 1, max: 10000, value: 1 });
  const start = h("button", { type: "submit", class: "button primary" }, "Start");
  const form = h("form", { class: "extend-form", hidden: true, on: { submit: extended } }, h("label", { for: "rd-extend-epochs", class: "small" }, "More epochs"), epochs, start);
  const extend = button(["Extend ", h("kbd", {}, "E")], () => unfold(form.hidden), { title: "A run that goes on from the end of this one: same episodes, same optimiser, more epochs", "aria-expanded": "false" });
  const clone = button(["Clone and change ", h("kbd", {}, "C")], () => run && onClone(run), { title: "A new run with this one's settings, to change" });
  const element = h("div", { class: "tools row" }, stop, kill, resume, extend, form, clone);

  function show(next) {
    if (run?.id !== next.id) unfold(false);
    run = next;
    const isOver = ENDED.has(run.state);
    setEnabled(stop, !isOver && run.state !== "cancelling");
    setText(stop.firstChild, run.state === "queued" ? "Take out of the queue " : "Save and stop ");
    stop.hidden = isOver;
    kill.hidden = isOver || run.state === "queued";
    resume.hidden = !["failed", "cancelled"].includes(run.state);
    extend.hidden = run.kind !== "train" || run.state !== "finished";
  }

  function unfold(on) {
    form.hidden = !on;
    extend.setAttribute("aria-expanded", String(on));
    key = crypto.randomUUID?.() ?? String(Math.random());
    if (on) epochs.select();
  }

  // No question over the page: the second press of the same button says yes.
  function killed() {
    if (!sure) {
      setText(kill, "Press again: steps since the last checkpoint are lost");
      sure = setTimeout(calm, SURE_MS);
      return;
    }
    calm();
    act("kill", "cancel", { at_once: true });
  }

  function calm() {
    clearTimeout(sure);
    sure = 0;
    setText(kill, "Stop at once");
  }

  async function act(verb, path, body = {}) {
    if (!run) return;
    const pressed = { stop, kill, resume }[verb];
    setEnabled(pressed, false);
    onPressed(verb === "resume" ? "◌ queueing …" : "◍ stopping …");
    try {
      onChanged(await post(`/runs/${id(run.id)}/${path}`, body));
      frame.say(SAID[verb]);
    } catch (error) {
      onProblem(error.message);
    }
    setEnabled(pressed, true);
    show(run);
  }

  async function extended(event) {
    event.preventDefault();
    setText(start, "Queueing …");
    try {
      onOpen(await post(`/runs/${id(run.id)}/extend`, { epochs: Number(epochs.value) }, { "idempotency-key": key }));
      unfold(false);
    } catch (error) {
      onProblem(error.message);
    }
    setText(start, "Start");
  }

  return { element, show, stop: () => stop.click(), extend: () => !extend.hidden && unfold(form.hidden) };
}

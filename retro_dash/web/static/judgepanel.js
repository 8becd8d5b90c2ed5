// A language model as judge: started on the queue's filter, with its agreement with people beside it.

import { get, post } from "./api.js";
import { button, coefficient, fill, h, isExpert, plural, setEnabled, setText } from "./dom.js";

const LOOK_MS = 700;

export function judgeSection({ query, say }) {
  const model = h("select", { id: "rd-judge-model", "aria-label": "Judge" }, h("option", { value: "" }, "the server’s first model"));
  const what = h("select", { id: "rd-judge-what", "aria-label": "What is judged" }, h("option", { value: "episodes" }, "episodes"), h("option", { value: "reflections" }, "reflections"));
  const limit = h("input", { type: "number", id: "rd-judge-limit", min: 1, max: 10000, value: 50, "aria-label": "At most so many" });
  const status = h("p", { class: "small", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const table = h("div", {});
  const go = button("Judge", () => ask("/judge", { filter: query().filter, what: what.value, model: model.value, limit: Math.round(Number(limit.value)) || 1 }), { class: "primary" });
  const stop = button("Stop", () => ask("/judge/stop", {}));
  const element = h("section", { class: "judge", "aria-label": "Language model as judge" }, h("h3", {}, "Language model as judge"),
    h("p", { class: "dim small" }, "It reads the episodes of the queue’s filter without their rewards and says good or bad, or reads their reflections and says whether they are accurate and actionable. That never counts as a person’s word; the evaluator ", h("code", {}, "judge"), " filters a dataset by it."),
    h("div", { class: "tools row" }, model, what, limit, go, stop), problem, status, table);

  async function ask(path, body) {
    problem.hidden = true;
    try {
      show(await post(path, body));
    } catch (error) {
      problem.hidden = false;
      setText(problem, error.message);
    }
  }

  async function look() {
    try {
      show(await get("/judge"));
    } catch {
      // The top bar says that the hub does not answer.
    }
  }

  function show(state) {
    const isBusy = state.state === "judging";
    setEnabled(go, !isBusy);
    setEnabled(stop, isBusy);
    const left = state.unreadable ? `, ${plural(state.unreadable, "answer")} without a verdict` : "";
    setText(status, { idle: "", judging: `… ${state.model}: ${state.done} of ${state.total} judged${left}`, done: `✓ ${state.model}: ${state.done} judged${left}`, stopped: `${state.model}: stopped after ${state.done} of ${state.total}${left}`, failed: "" }[state.state]);
    problem.hidden = state.state !== "failed";
    if (state.error) setText(problem, state.error);
    if (isBusy) setTimeout(() => element.isConnected && look(), LOOK_MS);
    else if (state.state === "done") say(status.textContent);
    agreement();
  }

  async function agreement() {
    const found = await get("/agreement/judges").catch(() => []);
    fill(table, found.map((one) => h("section", { class: "judge-agreement" },
      h("p", {}, h("strong", {}, one.model), h("span", { class: "small dim" }, ` ${one.good.toLocaleString("en")} of ${plural(one.judged, noun(one))} judged ${yes(one)}`)),
      one.items ? h("p", { class: "small tabular" }, `Agrees with people on ${Math.round(one.percent * 100)} % of ${plural(one.items, noun(one))}, Cohen’s κ ${one.cohen_kappa === null ? "not defined" : coefficient(one.cohen_kappa)}.`) : h("p", { class: "small dim" }, `No ${noun(one)} was judged by people too.`),
      one.items ? crossTable(one) : null)));
  }

  get("/policies").then(({ planners }) => model.append(...planners.filter((one) => !isExpert(one.name)).map((one) => h("option", { value: one.name }, one.name)))).catch(() => {});
  look();
  return element;
}

const noun = (one) => (one.about === "verdict" ? "episode" : "reflection");
const yes = (one) => (one.about === "verdict" ? "good" : one.about);
const no = (one) => (one.about === "verdict" ? "bad" : `not ${one.about}`);

function crossTable(one) {
  const cell = (count, who) => h("td", { class: who }, count.toLocaleString("en"));
  return h("table", { class: "small tabular cross" }, h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, `people: ${yes(one)}`), h("th", { scope: "col" }, `people: ${no(one)}`))),
    h("tbody", {}, h("tr", {}, h("th", { scope: "row" }, `judge: ${yes(one)}`), cell(one.both_good, "success"), cell(one.only_judge, "failure")), h("tr", {}, h("th", { scope: "row" }, `judge: ${no(one)}`), cell(one.only_people, "failure"), cell(one.both_bad, "success"))));
}

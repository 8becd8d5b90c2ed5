// Import: a file is sent, what is understood of it is shown before anything is stored, then it is stored.

import { get, id, post, Problem } from "./api.js";
import { button, fill, h, plural, setText } from "./dom.js";

const LOOK_MS = 300;

/** `onImported()` when new episodes are there. */
export function importPanel({ onImported }) {
  const file = h("input", { type: "file", id: "rd-import-file", accept: ".json,.jsonl,.txt,.log,.parquet,.eval,.gz" });
  const format = h("select", { id: "rd-import-format" }, h("option", { value: "" }, "as it looks"));
  const place = h("div", { class: "import-result", role: "status" });
  const look = () => file.files[0] && send(file.files[0]);
  file.addEventListener("change", look);
  format.addEventListener("change", look);
  get("/formats").then((known) => format.append(...Object.entries(known.import).map(([name, title]) => h("option", { value: name }, `${title} (${name})`)))).catch(() => {});

  async function send(chosen) {
    fill(place, h("p", { class: "dim" }, `Reading ${chosen.name} …`));
    try {
      fill(place, previewElement(await upload(chosen, format.value)));
    } catch (problem) {
      fill(place, h("p", { class: "problem", role: "alert" }, problem.message));
    }
  }

  function previewElement(state) {
    const seen = state.preview;
    const fresh = seen.episodes - seen.same - seen.known;
    const go = button(fresh ? `Import ${plural(fresh, "episode")}` : "Nothing new to import", () => start(state), { class: "primary", "aria-disabled": fresh ? "false" : "true" });
    queueMicrotask(() => go.focus());
    return h("section", { class: "preview", "aria-label": "What the file holds" },
      h("p", {}, h("strong", {}, seen.title), ` · ${plural(seen.rows, "row")}`),
      h("dl", { class: "preview-counts tabular" }, [["episodes", seen.episodes], ["in it twice", seen.same], ["here already", seen.known], ["trials", seen.trials], ["turns", seen.turns], ["reflections", seen.reflections], ["solved", seen.solved], ["labels", seen.labels], ["dropped", seen.dropped]]
        .map(([word, count]) => h("div", { class: word === "dropped" && count ? "failure" : "" }, h("dt", {}, word), h("dd", {}, count.toLocaleString("en"))))),
      h("p", { class: "small" }, Object.entries(seen.environments).map(([env, count]) => `${env} ${count.toLocaleString("en")}`).join(" · ")),
      reasons("Dropped, and why", seen.reasons, "failure"), reasons("Understood differently", seen.notes, "human"),
      seen.first_dropped.length ? h("details", {}, h("summary", { class: "small" }, `The first ${seen.first_dropped.length} dropped rows`), h("ul", { class: "dropped" }, seen.first_dropped.map((row) => h("li", { class: "small" }, `row ${row.row}: ${row.reason}`, h("pre", {}, row.excerpt))))) : null,
      h("div", { class: "tools row" }, go, button("Give it up", () => giveUp(state))));
  }

  const reasons = (title, counts, who) => (Object.keys(counts).length ? h("div", {}, h("p", { class: "small dim" }, title), h("ul", { class: "small" }, Object.entries(counts).map(([reason, count]) => h("li", { class: who }, h("span", { class: `sign ${who}`, "aria-hidden": "true" }, who === "failure" ? "✕" : "✎"), `${count.toLocaleString("en")} × ${reason}`)))) : null);

  async function start(state) {
    const words = h("p", {});
    const wanted = state.preview.episodes - state.preview.same - state.preview.known;
    const meter = h("meter", { min: 0, max: wanted, value: 0, "aria-label": "Imported" });
    fill(place, meter, words);
    try {
      let now = await post(`/imports/${id(state.id)}/start`);
      while (now.state === "importing") {
        meter.value = now.stored;
        setText(words, `${now.stored.toLocaleString("en")} of ${plural(wanted, "episode")} stored …`);
        await new Promise((done) => setTimeout(done, LOOK_MS));
        now = await get(`/imports/${id(state.id)}`);
      }
      if (now.state === "failed") throw new Problem(now.error, 0);
      fill(place, h("p", { class: "notice success" }, `✓ ${plural(now.result.stored, "episode")} imported, ${now.result.known.toLocaleString("en")} were here already, ${now.result.dropped.toLocaleString("en")} dropped.`));
      if (now.result.stored) onImported();
    } catch (problem) {
      fill(place, h("p", { class: "problem", role: "alert" }, problem.message));
    }
  }

  function giveUp(state) {
    fetch(`/api/v1/imports/${id(state.id)}`, { method: "DELETE", credentials: "same-origin" }).catch(() => {});
    file.value = "";
    fill(place);
    file.focus();
  }

  return h("div", { class: "import-panel" },
    h("p", { class: "small" }, "Recordings of other programs, or our own. Nothing is stored before you have seen what is understood; importing again adds only what is new."),
    h("div", { class: "field" }, h("label", { for: "rd-import-file" }, "File"), file), h("div", { class: "field" }, h("label", { for: "rd-import-format" }, "Read it"), format), place);
}

async function upload(file, format) {
  const query = new URLSearchParams({ name: file.name, ...(format && { format }) });
  let response;
  try {
    response = await fetch(`/api/v1/imports?${query}`, { method: "POST", credentials: "same-origin", headers: { "content-type": "application/octet-stream" }, body: file });
  } catch {
    throw new Problem("The hub does not answer, or the file could not be read. Choose it again.", 0);
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(typeof body.detail === "string" ? body.detail : `The hub answered ${response.status}.`, response.status, body);
  return body;
}

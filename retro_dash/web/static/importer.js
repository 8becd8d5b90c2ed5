// Import: files are sent, what is understood of them is shown before anything is stored, then it is stored.

import { get, id, post, Problem, remove, send } from "./api.js";
import { button, fill, h, plural, setText } from "./dom.js";
import { freshOf, previewElement, reasons } from "./importpreview.js";

const LOOK_MS = 300;
/** Names travel in the address, which the hub reads up to 64 KiB of. */
const LONGEST_ADDRESS = 40_000;

/** `onImported()` when new episodes are there. */
export function importPanel({ onImported }) {
  const files = h("input", { type: "file", id: "rd-import-file", multiple: true, accept: ".json,.jsonl,.txt,.log,.parquet,.eval,.html,.traj,.gz,.zip" });
  const folder = h("input", { type: "file", id: "rd-import-folder", webkitdirectory: true });
  const format = h("select", { id: "rd-import-format" }, h("option", { value: "" }, "as it looks"));
  const place = h("div", { class: "import-result", role: "status" });
  let chosen = [];
  files.addEventListener("change", () => choose(files, folder));
  folder.addEventListener("change", () => choose(folder, files));
  format.addEventListener("change", () => chosen.length && look());
  get("/formats").then((known) => format.append(...Object.entries(known.import).map(([name, title]) => h("option", { value: name }, `${title} (${name})`)))).catch(() => {});

  function choose(input, other) {
    chosen = [...input.files];
    other.value = "";
    if (chosen.length) look();
  }

  async function look() {
    fill(place, h("p", { class: "dim" }, `Reading ${chosen.length === 1 ? chosen[0].name : plural(chosen.length, "file")} …`));
    try {
      show(await upload(chosen, format.value));
    } catch (problem) {
      refuse(problem);
    }
  }

  function show(state) {
    const fresh = freshOf(state.preview);
    const go = button(fresh ? `Import ${plural(fresh, "episode")}` : "Nothing new to import", () => start(state, fresh), { class: "primary", "aria-disabled": fresh ? "false" : "true" });
    fill(place, previewElement(state.preview), h("div", { class: "tools row" }, go, button("Give it up", () => giveUp(state))));
    go.focus();
  }

  async function start(state, wanted) {
    const words = h("p", {});
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
      const { stored, known, dropped, refused } = now.result;
      fill(place, h("p", { class: "notice success" }, `✓ ${plural(stored, "episode")} imported, ${known.toLocaleString("en")} were here already, ${dropped.toLocaleString("en")} dropped.`),
        reasons("Did not fit the store", refused, "failure"), stored ? h("p", {}, h("a", { href: `/episodes?${new URLSearchParams({ filter: `run:${now.result.run_id}` })}` }, "See them on the Episodes page")) : null);
      if (stored) onImported();
    } catch (problem) {
      refuse(problem);
    }
  }

  const refuse = (problem) => fill(place, h("p", { class: "problem", role: "alert" }, problem.message));

  function giveUp(state) {
    remove(`/imports/${id(state.id)}`).catch(() => {});
    chosen = [];
    files.value = folder.value = "";
    fill(place);
    files.focus();
  }

  const field = (input, label) => h("div", { class: "field" }, h("label", { for: input.id }, label), input);
  return h("div", { class: "import-panel" },
    h("p", { class: "small" }, "Recordings of other programs, or our own. Nothing is stored before you have seen what is understood; importing again adds only what is new."),
    field(files, "Files, or a zip of files"), field(folder, "Or a folder with all that is in it"), field(format, "Read them"), place);
}

/** One file as it is; several one behind the other, each with its name and size. */
async function upload(files, format) {
  const names = files.map((file) => file.webkitRelativePath || file.name);
  const parts = files.length === 1 ? { name: names } : { name: names, size: files.map((file) => file.size) };
  if (new URLSearchParams(names.map((name) => ["name", name])).toString().length > LONGEST_ADDRESS) throw new Problem(`${plural(files.length, "file")} are too many for one go. Zip the folder and choose the zip.`, 0);
  return send("/imports", { ...parts, format }, new Blob(files));
}

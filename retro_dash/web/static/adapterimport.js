// A PEFT folder of this machine becomes an adapter of the home.

import { post } from "./api.js";
import { ROLES } from "./adaptercard.js";
import { h, setText } from "./dom.js";
import { labelled } from "./fields.js";

/** `onDone(adapter)`. */
export function importForm({ onDone }) {
  const folder = h("input", { id: "rd-import-folder", class: "mono", required: true, placeholder: "/path/to/peft/folder" });
  const name = h("input", { id: "rd-import-name", class: "mono", required: true, placeholder: "planner@theirs" });
  const role = h("select", { id: "rd-import-role" }, Object.keys(ROLES).map((one) => h("option", { value: one }, one)));
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const send = h("button", { type: "submit", class: "button primary" }, "Import");
  const form = h("form", { class: "fields", on: { submit: async (event) => {
    event.preventDefault();
    setText(send, "Copying …");
    problem.hidden = true;
    try {
      onDone(await post("/adapters/import", { folder: folder.value.trim(), name: name.value.trim(), role: role.value }));
      form.reset();
    } catch (error) {
      problem.hidden = false;
      setText(problem, error.message);
    }
    setText(send, "Import");
  } } }, labelled("rd-import-folder", "Folder on this machine", folder), labelled("rd-import-name", "Name", name), labelled("rd-import-role", "Role", role), h("div", { class: "field" }, send));
  return h("details", { class: "step importer" }, h("summary", {}, "Import an adapter from a folder"), h("p", { class: "dim small" }, "A PEFT folder of safetensors for the base model that the engine serves. It is copied into the home."), problem, form);
}

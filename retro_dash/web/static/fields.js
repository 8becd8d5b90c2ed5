// One input for one property of a JSON schema.

import { h } from "./dom.js";

/** Follow `$ref` and the one choice of `anyOf` that is not null. */
export function resolve(root, spec) {
  const chosen = spec.anyOf?.find((one) => one.type !== "null") ?? spec.allOf?.[0] ?? spec;
  const found = chosen.$ref ? root.$defs[chosen.$ref.split("/").at(-1)] : chosen;
  return { description: spec.description, ...found };
}

export const showValue = (value) => (Array.isArray(value) ? value.join(", ") : value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** `onSet(value)` after a change; `undefined` means the usual value. Returns {id, input, show}. */
export function fieldOf(root, given, id, onSet) {
  const spec = resolve(root, given);
  const optional = Boolean(given.anyOf?.some((one) => one.type === "null"));
  if (spec.enum) {
    const input = h("select", { id }, spec.enum.map((value) => h("option", { value }, String(value))));
    input.addEventListener("change", () => onSet(input.value));
    return field(input, (value) => (input.value = value));
  }
  if (spec.type === "boolean") {
    const input = h("input", { type: "checkbox", id });
    input.addEventListener("change", () => onSet(input.checked));
    return field(input, (value) => (input.checked = Boolean(value)));
  }
  if (spec.type === "number" || spec.type === "integer") {
    const input = h("input", { type: "number", id, step: spec.type === "integer" ? 1 : "any", min: spec.minimum ?? spec.exclusiveMinimum ?? null, max: spec.maximum ?? null, placeholder: optional ? "no limit" : "" });
    input.addEventListener("change", () => onSet(input.value === "" ? undefined : Number(input.value)));
    return field(input, (value) => (input.value = showValue(value)));
  }
  const isNumbers = spec.type === "array" && spec.prefixItems?.[0]?.type === "number";
  const isList = spec.type === "array";
  const choices = isList && resolve(root, spec.items ?? {}).enum;
  const input = h("input", { id, class: "mono", title: choices ? `Any of: ${choices.join(", ")}` : null, autocomplete: "off" });
  input.addEventListener("change", () => {
    const parts = input.value.split(",").map((part) => part.trim()).filter(Boolean);
    onSet(input.value.trim() === "" ? undefined : isList ? (isNumbers ? parts.map(Number) : parts) : input.value.trim());
  });
  return field(input, (value) => (input.value = showValue(value)));
}

function field(input, put) {
  return {
    id: input.id,
    input,
    show: (value) => {
      if (document.activeElement !== input) put(value);
    },
  };
}

/** A label over an input, with a hint under it. */
export function labelled(inputId, text, input, hint = null) {
  return h("div", { class: "field" }, h("label", { for: inputId }, text), h("div", { class: "input-row" }, input), hint);
}

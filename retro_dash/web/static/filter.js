// The filter line: completion of fields and values, and where a mistake is.

import { fill, h, setText, store } from "./dom.js";

const SHOWN = 9;

/** `onFilter(text)` when the filter should be used. Returns {element, set, fail, know, focus}. */
export function filterLine(onFilter) {
  let fields = [];
  let facets = {};
  let choices = [];
  let at = -1;
  const input = h("input", { type: "search", id: "rd-filter", class: "mono", role: "combobox", "aria-label": "Filter episodes", "aria-expanded": "false", "aria-controls": "rd-choices",
    "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: 'Filter: outcome:failed gain>0 text:"river"' });
  const list = h("ul", { id: "rd-choices", role: "listbox", "aria-label": "Completions", hidden: true });
  const caret = h("span", { class: "mistake-at", "aria-hidden": "true" });
  const mistake = h("p", { class: "mistake", role: "alert", hidden: true });
  const element = h("div", { class: "filter" }, h("div", { class: "filter-box" }, input, caret, list), mistake);
  let timer = 0;

  const word = () => {
    const before = input.value.slice(0, input.selectionStart);
    const start = before.search(/(?:[^\s"]|"[^"]*"?)*$/);
    return { start, text: before.slice(start) };
  };

  function complete() {
    const { text } = word();
    const bare = text.replace(/^-/, "");
    const [, name, op, value] = /^([a-z_]+)(:|>=|<=|=|>|<)(.*)$/i.exec(bare) ?? [];
    const minus = text.startsWith("-") ? "-" : "";
    if (name) {
      const known = facets[name] ?? (name === "outcome" ? ["solved", "failed", "running"] : []);
      const parts = value.split(",");
      const last = parts.pop().replace(/^"/, "").toLowerCase();
      choices = known.filter((one) => String(one).toLowerCase().includes(last) && String(one) !== last).map((one) => ({
        text: `${minus}${name}${op}${[...parts, quoted(String(one))].join(",")} `, show: String(one), meaning: "" }));
    } else {
      choices = fields.filter((field) => field.name.startsWith(bare.toLowerCase())).map((field) => ({
        text: `${minus}${field.name}${field.type === "number" ? ">" : ":"}`, show: field.example, meaning: field.meaning }));
    }
    choices = [...(input.value === "" ? savedFilters() : []), ...choices].slice(0, SHOWN);
    at = -1;
    draw();
  }

  function draw() {
    const open = choices.length > 0 && document.activeElement === input;
    list.hidden = !open;
    input.setAttribute("aria-expanded", String(open));
    fill(list, choices.map((choice, index) => h("li", { role: "option", id: `rd-choice-${index}`, "aria-selected": String(index === at) },
      h("code", {}, choice.show), h("span", { class: "dim small" }, choice.meaning))));
    if (at >= 0) input.setAttribute("aria-activedescendant", `rd-choice-${at}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function take(index) {
    const { start } = word();
    const rest = input.value.slice(input.selectionStart);
    input.value = input.value.slice(0, start) + choices[index].text + rest.trimStart();
    const end = start + choices[index].text.length;
    input.setSelectionRange(end, end);
    complete();
    if (choices.length === 0 || input.value.endsWith(" ")) use();
  }

  function use() {
    clearTimeout(timer);
    onFilter(input.value.trim());
  }

  const close = () => {
    choices = [];
    draw();
  };

  input.addEventListener("input", () => {
    fail(null);
    complete();
    clearTimeout(timer);
    timer = setTimeout(use, 350);
  });
  input.addEventListener("focus", () => (input.value === "" && !savedFilters().length) || complete());
  input.addEventListener("blur", () => setTimeout(close, 120));
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (!choices.length) return complete();
      at = (at + step + choices.length + (at < 0 && step < 0 ? 1 : 0)) % choices.length;
      draw();
    } else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) {
      event.preventDefault();
      take(at);
    } else if (event.key === "Enter") {
      close();
      use();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      if (choices.length) close();
      else input.blur();
    }
  });
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();
    const item = event.target.closest("li");
    if (item) take([...list.children].indexOf(item));
  });

  /** Show a refused filter: its sentence, and a mark under the character it names. */
  function fail(problem) {
    mistake.hidden = !problem;
    input.setAttribute("aria-invalid", String(Boolean(problem)));
    setText(caret, "");
    if (!problem) return;
    setText(mistake, problem.message);
    const position = problem.body.position ?? Number(/position (\d+)/i.exec(problem.message)?.[1] ?? 0) - 1;
    if (position >= 0) setText(caret, `${"\u00a0".repeat(position)}^`);
  }

  return {
    element,
    fail,
    focus: () => input.focus(),
    set: (text) => {
      if (document.activeElement !== input && input.value !== text) input.value = text;
    },
    know: (filters) => {
      fields = filters.fields ?? [];
      facets = filters.facets ?? {};
    },
  };
}

/** The filters that were saved over the table of episodes. */
const savedFilters = () => (store("filters") ?? []).map((text) => ({ text: `${text} `, show: text, meaning: "★ saved" }));

const quoted = (text) => (/^[\w.@/-]+$/.test(text) ? text : `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`);

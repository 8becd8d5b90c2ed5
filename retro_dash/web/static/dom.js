// Building and updating the page. Text only ever becomes a text node: no function here takes HTML.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open", "selected", "tabIndex", "htmlFor"]);

/** An element. `props`: attributes, `class`, `on: {event: handler}`; children: nodes, text, or nothing. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  setProps(element, props);
  element.append(...flat(children));
  return element;
}

function setProps(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (name.startsWith("on") || name === "style" || name === "srcdoc") throw new Error(`h() takes no ${name}`);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false).map(visible);
}

// Control and direction-changing characters are shown, not obeyed.
function visible(child) {
  return child instanceof Node ? child : document.createTextNode(clean(child));
}

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text safe to show: control and bidirectional characters become a replacement mark. */
export function clean(text) {
  return String(text).replace(/\r\n?/g, "\n").replace(HIDDEN, "\ufffd");
}

/** Set an element's text, touching the page only when it differs. */
export function setText(element, text) {
  const shown = clean(text);
  if (element.textContent !== shown) element.textContent = shown;
}

/** Replace an element's children. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

/** Make `parent`'s children match `items` by key; elements that stay are kept, so focus and selection stay too. */
export function keyed(parent, items, keyOf, create, update = () => {}) {
  const old = parent.__byKey ?? new Map();
  const now = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    let key = keyOf(item);
    while (now.has(key)) key = `${key}\u0001`;
    let element = old.get(key);
    if (!element) element = create(item);
    update(element, item);
    now.set(key, element);
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
  }
  for (const [key, element] of old) if (now.get(key) !== element) element.remove();
  parent.__byKey = now;
}

export const SIGNS = { planner: "●", reflector: "◆", environment: "▸", human: "✎", expert: "★", success: "✓", failure: "✕" };

/** The sign of who wrote something, hidden from screen readers where a word says the same. */
export function sign(who, word = "") {
  const mark = h("span", { class: `sign ${who}`, "aria-hidden": "true" }, SIGNS[who]);
  return word ? [mark, h("span", { class: "sr" }, word)] : mark;
}

/** Whether a policy is a script and no model. */
export const isExpert = (name) => name.split(":")[0] === "expert";

/** Whose colour and sign a policy has: the expert's where it is a script, else its part's. */
export const player = (name, role) => (isExpert(name) ? "expert" : role);

/** A button that keeps the focus when it can't be pressed (aria-disabled, not disabled). */
export function button(label, onPress, props = {}) {
  return h("button", {
    type: "button",
    ...props,
    class: `button ${props.class ?? ""}`,
    on: {
      click: (event) => {
        if (event.currentTarget.getAttribute("aria-disabled") !== "true") onPress(event);
      },
    },
  }, ...(Array.isArray(label) ? label : [label]));
}

export function setEnabled(element, enabled) {
  element.setAttribute("aria-disabled", enabled ? "false" : "true");
}

/** 1 → "1", 0.25 → "0.25", 0.3333 → "0.33". */
export function number(value) {
  return value === null || value === undefined ? "–" : String(Math.round(value * 100) / 100);
}

/** An agreement: 0.4 → "0.40", −0.08 → "−0.08". */
export const coefficient = (value) => (value === null ? "–" : value.toFixed(2).replace("-", "−"));

export function signed(value) {
  return (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(Math.round(value * 100) / 100);
}

export function age(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${Math.floor(seconds)} s`;
}

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

const REASONS = {
  solved: "solved", failed: "wrong answer", turn_limit: "out of turns", token_limit: "out of tokens", context_limit: "context full",
  repeated_action: "same action again and again", malformed: "no readable action", stopped: "stopped by a person",
  model_error: "the model failed", environment_error: "the environment broke",
};
/** Why a trial ended, in words. */
export const reason = (stop) => REASONS[stop] ?? String(stop ?? "running").replaceAll("_", " ");

export function store(name, value) {
  try {
    if (value === undefined) return JSON.parse(localStorage.getItem(`retro-${name}`));
    localStorage.setItem(`retro-${name}`, JSON.stringify(value));
  } catch {
    // Storage may be switched off: then a choice lasts as long as the page.
  }
  return value ?? null;
}

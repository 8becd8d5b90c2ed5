// The keys of a page. Quiet while somebody types, chooses from a list, or holds Ctrl, Alt or Meta.

const bindings = [];

/** `keys`: as people write it ("s", "Shift+R", "?"); `label` goes into the help sheet. */
export function bind(keys, label, run, when = () => true) {
  bindings.push({ keys, label, run, when });
}

export const known = () => bindings;

export function pressed(event) {
  const letter = /^[a-zA-Z]$/.test(event.key);
  return (event.shiftKey && (letter || event.key.length > 1) ? "Shift+" : "") + (letter ? event.key.toLowerCase() : event.key);
}

const matches = (keys, key) => keys.split(" ").some((one) => one.replace(/Shift\+([A-Z])/, (_, c) => `Shift+${c.toLowerCase()}`) === key);

function isTyping(target) {
  return target.isContentEditable || (target.matches?.("input, textarea, select") && !["checkbox", "button"].includes(target.type));
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return;
  if (isTyping(event.target)) return void (event.key === "Escape" && event.target.blur());
  if (document.querySelector("dialog[open]")) return;
  const key = pressed(event);
  if (key === "Enter" && event.target.closest?.("button, a, summary")) return;
  const binding = bindings.find((one) => matches(one.keys, key) && one.when());
  if (!binding) return;
  event.preventDefault();
  binding.run(event);
});

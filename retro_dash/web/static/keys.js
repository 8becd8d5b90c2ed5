// The keys of a page. Quiet while somebody types, chooses from a list, or holds Alt. Cmd is Ctrl.

const bindings = [];

/** `keys`: as people write it ("s", "Shift+R", "?"); `label` goes into the help sheet. */
export function bind(keys, label, run, when = () => true) {
  bindings.push({ keys, label, run, when });
}

export const known = () => bindings;

/** What is pressed, as people write it. */
export function pressed(event) {
  const isLetter = /^[a-zA-Z]$/.test(event.key);
  const held = (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + (event.shiftKey && (isLetter || event.key.length > 1) ? "Shift+" : "");
  return held + (isLetter ? (held ? event.key.toUpperCase() : event.key.toLowerCase()) : event.key);
}

const matches = (keys, key) => keys.split(" ").includes(key);

function isTyping(target) {
  return target.isContentEditable || (target.matches?.("input, textarea, select") && !["checkbox", "button"].includes(target.type));
}

addEventListener("keydown", (event) => {
  if (event.altKey || event.defaultPrevented || event.isComposing) return;
  if (isTyping(event.target)) return void (event.key === "Escape" && event.target.blur());
  if (document.querySelector("dialog[open]")) return;
  const key = pressed(event);
  if (key === "Enter" && event.target.closest?.("button, a, summary")) return;
  const binding = bindings.find((one) => matches(one.keys, key) && one.when());
  if (!binding) return;
  event.preventDefault();
  binding.run(event);
});

// A room: every receptacle as a tile, in it what was seen there; what is carried; what can be done now.

import { button, fill, h, keyed, setText } from "../dom.js";

const STATES = { current: ["◎", "here"], visited: ["✓", "visited"], unseen: ["○", "not visited"] };

export function draw(element, view, { act, note }) {
  const parts = element.__alfworld ?? build(element);
  const { receptacles, inventory, admissible, truth } = view;
  element.__act = act;
  setText(parts.carrying, inventory.length ? inventory.join(", ") : "nothing");
  parts.carrying.classList.toggle("dim", !inventory.length);
  setText(parts.count, `${receptacles.filter((place) => place.state !== "unseen").length} of ${receptacles.length} visited`);
  keyed(parts.map, receptacles, (place) => place.name, createTile, (tile, place) => updateTile(tile, place, truth?.[place.name]));
  parts.doors.hidden = !admissible.length;
  setText(parts.actionsCount, String(admissible.length));
  keyed(parts.actions, admissible, (action) => action,
    (action) => h("li", {}, button(action, () => element.__act?.(action), { class: "command", title: "Do this instead of asking the planner" })));
  parts.actions.classList.toggle("frozen", !act);
  setText(parts.note, note);
}

function build(element) {
  const parts = { map: h("ul", { class: "room" }), carrying: h("strong", {}), count: h("span", { class: "dim" }),
    actions: h("ul", { class: "commands" }), actionsCount: h("span", { class: "dim" }), note: h("p", { class: "dim small" }) };
  parts.doors = h("details", { class: "admissible", open: true }, h("summary", {}, "What can be done now ", parts.actionsCount), parts.note, parts.actions);
  fill(element, h("p", { class: "carrying" }, "Carrying ", parts.carrying), h("h3", {}, "Room ", parts.count), parts.map, parts.doors);
  element.__alfworld = parts;
  return parts;
}

function createTile() {
  return h("li", {}, h("span", { class: "mark" }), h("span", { class: "name" }), h("span", { class: "door" }), h("span", { class: "items" }));
}

// Once the trial is over `truth` says what is really inside: what was missed is marked.
function updateTile(element, place, truth) {
  const [sign, word] = STATES[place.state] ?? STATES.unseen;
  const [mark, name, door, items] = element.children;
  element.className = `place ${place.state}`;
  setText(mark, sign);
  mark.title = word;
  setText(name, place.name);
  setText(door, place.is_open === null ? "" : place.is_open ? "open" : "closed");
  const missed = (truth ?? []).filter((item) => !(place.contents ?? []).includes(item));
  const seen = (place.contents ?? []).filter((item) => !truth || truth.includes(item));
  const known = place.contents === null ? "" : seen.length ? seen.join(", ") : missed.length ? "" : "empty";
  const key = `${known}|${missed}`;
  if (items.dataset.key === key) return;
  items.dataset.key = key;
  fill(items, known === "empty" ? h("span", { class: "dim" }, known) : known, missed.length ? h("span", { class: "missed", title: "It was here all along, never seen" }, `${known ? ", " : ""}${missed.join(", ")}`) : null);
}

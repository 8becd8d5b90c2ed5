// A room: every receptacle as a tile, in it what was seen there; what is carried; what can be done now.

import { button, fill, h, keyed, setText } from "../dom.js";

export function draw(element, view, { act, note }) {
  const parts = element.__alfworld ?? build(element);
  const places = view.receptacles ?? [];
  const carried = view.inventory ?? [];
  setText(parts.carrying, carried.length ? carried.map((item) => itemName(item)).join(", ") : "nothing");
  parts.carrying.classList.toggle("dim", !carried.length);
  const visited = places.filter((place) => place.visited).length;
  setText(parts.count, `${visited} of ${places.length} visited`);
  keyed(parts.map, places, (place) => place.name, (place) => tile(place), updateTile);
  const actions = view.admissible ?? [];
  setText(parts.actionsCount, String(actions.length));
  keyed(parts.actions, actions, (action) => action,
    (action) => h("li", {}, button(action, () => element.__act?.(action), { class: "command", title: "Do this instead of asking the planner" })));
  element.__act = act;
  parts.actions.classList.toggle("frozen", !act);
  setText(parts.note, note ?? "");
}

function build(element) {
  const map = h("ul", { class: "room" });
  const carrying = h("strong", {});
  const count = h("span", { class: "dim" });
  const actions = h("ul", { class: "commands" });
  const actionsCount = h("span", { class: "dim" });
  const note = h("p", { class: "dim small" });
  fill(element,
    h("p", { class: "carrying" }, "Carrying ", carrying),
    h("h3", {}, "Room ", count), map,
    h("p", { class: "legend dim small", "aria-hidden": "true" }, "◎ here · ✓ visited · ○ not yet · ▢ closed · ⊔ open"),
    h("details", { class: "admissible", open: true }, h("summary", {}, "What can be done now ", actionsCount), note, actions));
  element.__alfworld = { map, carrying, count, actions, actionsCount, note };
  return element.__alfworld;
}

function tile() {
  return h("li", {}, h("span", { class: "mark" }), h("span", { class: "name" }), h("span", { class: "door" }), h("span", { class: "items" }));
}

function updateTile(element, place) {
  const here = place.here ?? false;
  const known = Array.isArray(place.contents) ? place.contents.map(itemName) : null;
  element.className = `place ${here ? "here" : place.visited ? "visited" : "unknown"}`;
  const [mark, name, door, items] = element.children;
  setText(mark, here ? "◎" : place.visited ? "✓" : "○");
  mark.title = here ? "here" : place.visited ? "visited" : "not visited";
  setText(name, place.name);
  setText(door, place.openable ? (place.open ? "⊔" : "▢") : "");
  door.title = place.openable ? (place.open ? "open" : "closed") : "";
  setText(items, known === null ? "" : known.length ? known.join(", ") : "empty");
  items.classList.toggle("dim", !known?.length);
}

function itemName(item) {
  if (typeof item === "string") return item;
  const states = ["hot", "cold", "cool", "clean", "sliced", "on"].filter((state) => item[state] || item[`is_${state}`]);
  return [...(item.states ?? states), item.name].join(" ");
}

// The panel at the side of Curate: review, history, tags, datasets, import, keys. It covers nothing that is labelled on a wide
// screen, and the keys of the page go on working beside it.

import { datasetsPanel } from "./datasets.js";
import { button, fill, h } from "./dom.js";
import { historyPanel } from "./historypanel.js";
import { importPanel } from "./importer.js";
import { reviewPanel } from "./reviewpanel.js";
import { tagsPanel } from "./tagspanel.js";

const TITLES = { review: "Review", history: "History of this item", tags: "Tags", datasets: "Datasets", import: "Import files", keys: "Keys" };

/** Returns {element, open(name), toggle(name), close(), step(by), look()}; close answers whether there was something to close. */
export function drawDrawer({ keymap, episode, only, query, onQuery, say, refocus, onImported, onTags, show, decide }) {
  let shown = null;
  let review = null;
  let history_ = null;
  const title = h("h2", { tabindex: "-1" });
  const body = h("div", { class: "drawer-body" });
  const element = h("aside", { class: "drawer", "aria-label": "Panel", hidden: true }, h("header", {}, title, button("✕", () => close(), { class: "quiet icon", "aria-label": "Close the panel", title: "Close (Esc)" })), body);
  const panels = { review: () => (review = reviewPanel({ open: show, decide, query, onQuery, say })).element, history: () => (history_ = historyPanel({ episode, only, open: show })).element, tags: () => tagsPanel({ onSaved: onTags, say }), datasets: () => datasetsPanel({ query, say }), import: () => importPanel({ onImported }), keys: () => keymap.panel() };

  function open(name) {
    shown = name;
    fill(title, TITLES[name]);
    fill(body, panels[name]());
    element.hidden = false;
    element.classList.toggle("wide", name === "review");
    element.setAttribute("aria-label", TITLES[name]);
    (body.querySelector("input, button, select") ?? title).focus();
  }

  function close() {
    if (!shown) return false;
    shown = null;
    element.hidden = true;
    fill(body);
    refocus();
    return true;
  }

  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.preventDefault();
    close();
  });
  /** Something was said, or another item stands there. */
  const look = () => shown === "history" && history_.load();
  return { element, open, close, look, toggle: (name) => (shown === name ? close() : open(name)), step: (by) => (shown === "review" ? review.step(by) : open("review")) };
}

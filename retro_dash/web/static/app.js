// Starts the page's view at once and moves it into its place as soon as Gradio has drawn that.

import { h } from "./dom.js";
import { drawFrame } from "./frame.js";

const pages = JSON.parse(document.querySelector('meta[name="retro-pages"]').content);
const path = location.pathname.replace(/\/+$/, "") || "/";
const page = pages.find((one) => one.path === path) ?? pages[0];

const frame = drawFrame(pages, page);
place(frame.element);
try {
  const view = await import(`./pages/${page.view}.js`);
  await view.draw(frame);
} catch (error) {
  frame.main.append(h("p", { class: "problem", role: "alert" }, `This page could not be drawn: ${error.message}. Reload it.`));
  throw error;
}

function place(element) {
  const cover = h("div", { class: "rd-cover" }, element);
  const move = () => {
    const home = document.querySelector(`[data-view="${page.view}"]`);
    if (!home) return false;
    const scroll = scrollY;
    // The view brings its own landmarks; Gradio's `main` around all of it would be a second one.
    home.closest("main")?.setAttribute("role", "presentation");
    if (home.moveBefore && element.isConnected) home.moveBefore(element, null);
    else home.append(element);
    cover.remove();
    document.documentElement.classList.add("rd-ready");
    scrollTo(0, scroll);
    return true;
  };
  const start = () => {
    if (move()) return;
    document.body.prepend(cover);
    const watcher = new MutationObserver(() => move() && watcher.disconnect());
    watcher.observe(document.body, { childList: true, subtree: true });
  };
  if (document.body) start();
  else addEventListener("DOMContentLoaded", start);
}

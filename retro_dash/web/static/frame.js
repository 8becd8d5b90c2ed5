// What every page shares: top bar, lineage line, help sheet, theme, and the hub's state, always true.

import { get } from "./api.js";
import { button, fill, h, keyed, plural, setText } from "./dom.js";
import { bind, known } from "./keys.js";

const ENGINE = { ready: ["●", "ready"], starting: ["◌", "starting"], pausing: ["◍", "makes room"], paused: ["◫", "is paused"], stopped: ["○", "stopped"], failed: ["✕", "failed"] };

/** Draws the frame and returns {main, crumbs, say}: where a view goes, its lineage, and the live region. */
export function drawFrame(pages, current) {
  const engine = h("a", { class: "engine", href: "/serving", "aria-live": "off" });
  const runs = h("a", { class: "runs", href: "/train" });
  const unsaved = h("a", { class: "runs unsaved", href: "/curate", hidden: true });
  const account = h("a", { class: "runs account", href: "/account", hidden: true });
  const crumbs = h("nav", { class: "crumbs", "aria-label": "Lineage" });
  const live = h("div", { class: "sr", role: "status", "aria-live": "polite" });
  const main = h("main", { id: "rd-main", class: `view view-${current.view}`, tabindex: "-1" });
  const help = helpSheet();
  const frame = h("div", { class: "rd" },
    h("a", { class: "skip", href: "#rd-main", on: { click: (event) => { event.preventDefault(); main.focus(); } } }, "Skip to content"),
    h("header", { class: "top" },
      h("a", { class: "brand", href: pages[0].path, "aria-label": "Retro Dash" }, h("img", { src: "/ui/favicon.svg", alt: "", width: 22, height: 22 }), h("span", {}, "Retro Dash")),
      h("nav", { class: "pages", "aria-label": "Pages" },
        pages.map((page) => h("a", { href: page.path, "aria-current": page.path === current.path ? "page" : null }, page.title))),
      h("div", { class: "right" }, unsaved, engine, runs, account,
        button("◐", switchTheme, { class: "quiet icon", "aria-label": "Light or dark", title: "Light or dark" }),
        button("?", () => help.showModal(), { class: "quiet icon", "aria-label": "Keys of this page", title: "Keys of this page (?)" })),
    ),
    crumbs, main, live, help);
  bind("?", "This sheet", () => help.showModal());
  watchHub(engine, runs);
  watchUnsaved(unsaved);
  showAccount(account);
  // On a narrow screen the bar scrolls: the page that is shown is in sight.
  const bar = frame.querySelector(".pages");
  new ResizeObserver(() => (bar.scrollLeft = (bar.querySelector("[aria-current]")?.offsetLeft ?? 0) - bar.offsetLeft - 40)).observe(bar);
  return { element: frame, main, crumbs: (...parts) => showCrumbs(crumbs, parts), say: (text) => setText(live, text) };
}

/** Who is signed in, and the way out; nothing where the dashboard has one owner. */
async function showAccount(link) {
  try {
    const { name, role, is_owner: isOwner } = await get("/me");
    link.hidden = isOwner;
    setText(link, name);
    link.title = `Signed in as ${name}, ${role}: sign out here`;
  } catch {
    // The state of the hub beside it says that it does not answer.
  }
}

function showCrumbs(crumbs, parts) {
  keyed(crumbs, parts.filter(Boolean).map((part, index) => ({ index, ...part })), (part) => `${part.index} ${part.href ?? ""}`,
    (part) => (part.href ? h("a", { href: part.href }) : h("span")), (element, part) => setText(element, part.text));
}

function helpSheet() {
  const list = h("dl", { class: "keys" });
  const sheet = h("dialog", { class: "help", "aria-labelledby": "rd-help-title" },
    h("h2", { id: "rd-help-title" }, "Keys of this page"), list,
    h("p", { class: "dim" }, "Keys rest while you type in a field. Esc leaves it."),
    button("Close", () => sheet.close(), { class: "primary" }));
  const show = sheet.showModal.bind(sheet);
  sheet.showModal = () => {
    fill(list, known().map((one) => [
      h("dt", {}, one.keys.split(" ").map((key, index) => [index ? " " : "", h("kbd", {}, key)])), h("dd", {}, one.label)]));
    show();
    sheet.scrollTop = 0;
  };
  sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
  return sheet;
}

function switchTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  try {
    if (root.dataset.theme === system) localStorage.removeItem("retro-theme");
    else localStorage.setItem("retro-theme", root.dataset.theme);
  } catch {
    // The choice then lasts as long as the page.
  }
}

const LOOK_MS = 2000;
const ANSWER_MS = 2500;

/** A hub that is gone, or answers nothing for too long, is said to be gone within 5 s. */
function watchHub(engine, runs) {
  let timer = 0;
  const look = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      showHub(engine, runs, await get("/status", {}, { signal: AbortSignal.timeout(ANSWER_MS) }));
    } catch {
      engine.className = "engine state-failed";
      setText(engine, "✕ the hub does not answer");
    }
    timer = setTimeout(look, LOOK_MS);
  };
  document.addEventListener("visibilitychange", look);
  look();
}

/** Labels that wait in this browser for the hub; Curate sends them. */
function watchUnsaved(link) {
  const look = () => {
    let count = 0;
    try {
      count = Object.keys(localStorage).filter((key) => key.startsWith("retro-unsaved-")).length;
    } catch {
      // With no storage none can wait there.
    }
    link.hidden = count === 0;
    setText(link, `✎ ${plural(count, "unsaved label")}`);
  };
  document.addEventListener("rd-unsaved", look);
  addEventListener("storage", look);
  look();
}

function showHub(engine, runs, status) {
  if (engine.dataset.state && engine.dataset.state !== status.engine.state) document.dispatchEvent(new CustomEvent("rd-engine"));
  engine.dataset.state = status.engine.state;
  const [mark, word] = ENGINE[status.engine.state] ?? ["○", status.engine.state];
  engine.className = `engine state-${status.engine.state}`;
  engine.title = `${status.engine.detail || "Engine"} · Retro Dash ${status.version}`;
  setText(engine, `${mark} ${status.engine.model || "engine"} ${word}`);
  const { running = 0, queued = 0 } = status.runs ?? {};
  const playing = status.live?.busy ?? 0;
  const parts = [running ? `${plural(running, "job")} running` : "", queued ? `${queued} queued` : "", playing ? `${plural(playing, "episode")} playing` : ""].filter(Boolean);
  setText(runs, (status.storage?.read_only ? "✕ store is read-only · " : "") + (parts.join(" · ") || "nothing running"));
  runs.href = running + queued || !playing ? "/train" : `/episodes?${new URLSearchParams({ filter: "outcome:running" })}`;
  runs.classList.toggle("busy", running + playing > 0);
}

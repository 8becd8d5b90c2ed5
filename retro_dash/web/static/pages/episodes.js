// Episodes: the table, and one episode at a time over it. The address says all: filter, sort, page, episode, trial, turn.

import { get, id } from "../api.js";
import { drawDetail } from "../detail.js";
import { fill, h } from "../dom.js";
import { bind } from "../keys.js";
import { drawList } from "../list.js";
import { lineageParts } from "../runs.js";

const BACKGROUND = /^(collect|train|evaluate)-/;

export async function draw(frame) {
  const listBox = h("section", { class: "list", "aria-label": "All episodes" });
  const detailBox = h("section", { class: "detail", "aria-label": "Episode", hidden: true });
  fill(frame.main, listBox, detailBox);
  frame.main.classList.add("episodes-page");
  const list = drawList(listBox, { onOpen: (opened) => go({ episode: opened }), onQuery: (query) => go(listAddress(query), { replace: false }) });
  let detail = null;
  let shown = null;
  let listed = null;
  let scroll = 0;

  const inList = () => shown === null;
  const inDetail = () => shown !== null;
  bind("j ArrowDown", "Next row; in an episode: scroll down", () => (inList() ? list.move(1) : scrollBy({ top: 120 })));
  bind("k ArrowUp", "Previous row; in an episode: scroll up", () => (inList() ? list.move(-1) : scrollBy({ top: -120 })));
  bind("Enter", "Open the row", () => list.open(), inList);
  bind("/", "Filter", () => list.focusFilter(), inList);
  bind("t", "Train on these episodes", () => listBox.querySelector(".these:not([hidden]) a")?.click(), inList);
  bind("l ArrowRight", "Next turn", () => detail?.turn(1), inDetail);
  bind("h ArrowLeft", "Previous turn", () => detail?.turn(-1), inDetail);
  bind("Shift+L", "Next episode of the table", () => step(1), inDetail);
  bind("Shift+H", "Previous episode of the table", () => step(-1), inDetail);
  bind("1 2 3 4 5 6 7 8 9", "First turn of that trial", (event) => detail?.goTo(Number(event.key), 1), inDetail);
  bind("z", "Expand all long text", () => detail?.foldAll?.(true), inDetail);
  bind("Shift+Z", "Collapse all long text", () => detail?.foldAll?.(false), inDetail);
  bind("Escape", "Back to the table", close, inDetail);

  function go(parameters, { replace = false } = {}) {
    const address = `/episodes?${new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined))}`;
    history[replace ? "replaceState" : "pushState"]({ inside: true }, "", address.replace(/\?$/, ""));
    return show();
  }

  function close() {
    if (history.state?.inside && listed) history.back();
    else go(listAddress(list.query()));
  }

  async function step(by) {
    const next = await list.neighbour(shown, by);
    if (next) go({ episode: next }, { replace: true });
    else frame.say(by > 0 ? "This is the last episode of the table" : "This is the first episode of the table");
  }

  /** Where an episode came from; one that a background run played has that run's row of links. */
  function showLineage(found) {
    const all = { text: "All episodes", href: "/episodes" };
    frame.crumbs(all, { text: found.task.env, href: `/episodes?filter=env:${encodeURIComponent(found.task.env)}` }, { text: found.task.id },
      found.parent_id ? { text: `fork of ${found.parent_id} before turn ${found.fork_turn} of trial ${found.fork_trial}`, href: `/episodes?episode=${encodeURIComponent(found.parent_id)}` } : null,
      { text: `run ${found.run_id}`, href: `/episodes?${new URLSearchParams({ filter: `run:${found.run_id}` })}` }, { text: found.id });
    if (!BACKGROUND.test(found.run_id)) return;
    get(`/runs/${id(found.run_id)}/lineage`).then((lineage) => shown === found.id && frame.crumbs(all, ...lineageParts(lineage), { text: found.id })).catch(() => {});
  }

  async function show() {
    const address = new URLSearchParams(location.search);
    const episode = address.get("episode");
    const key = episode ? null : location.search;
    if (!episode) {
      const back = inDetail();
      shown = null;
      detail?.end();
      detail = null;
      listBox.hidden = false;
      detailBox.hidden = true;
      fill(detailBox);
      document.title = "Episodes · Retro Dash";
      const query = { filter: address.get("filter") ?? "", sort: address.get("sort") ?? "-created", page: Math.max(0, Number(address.get("page") ?? 1) - 1 || 0) };
      frame.crumbs({ text: "All episodes", href: "/episodes" }, query.filter ? { text: query.filter } : null);
      if (back) scrollTo({ top: scroll });
      listed = key;
      await list.show(query);
      if (back) list.move(0);
      return;
    }
    if (episode !== shown) await open(episode);
    const trial = Number(address.get("trial"));
    if (trial && detail) await detail.goTo(trial, Number(address.get("turn")) || 1, { quiet: true });
  }

  async function open(episode) {
    if (inList()) scroll = scrollY;
    detail?.end();
    detail = null;
    shown = episode;
    listBox.hidden = true;
    detailBox.hidden = false;
    scrollTo({ top: 0 });
    try {
      const drawn = await drawDetail(detailBox, episode, {
        onClose: close, say: frame.say,
        onPlace: (trial, turn) => history.replaceState(history.state, "", `/episodes?${new URLSearchParams({ episode, trial, turn })}`),
        crumbs: showLineage,
      });
      if (shown === episode) detail = drawn;
      else drawn.end();
    } catch (error) {
      fill(detailBox, h("div", { class: "empty-state" }, h("p", { class: "problem", role: "alert" }, error.message), h("a", { class: "button primary", href: "/episodes" }, "All episodes")));
    }
  }

  addEventListener("popstate", show);
  await show();
  // A table under an episode that was opened by its address: H and L need it.
  if (inDetail()) await list.show({ filter: "", sort: "-created", page: 0 });
}

function listAddress({ filter, sort, page }) {
  return { filter, sort: sort === "-created" ? "" : sort, page: page ? page + 1 : "" };
}

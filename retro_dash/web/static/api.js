// The only way to the hub: /api/v1 with the page's own cookie.

const BASE = "/api/v1";

/** What the hub refused, in one sentence. */
export class Problem extends Error {
  constructor(detail, status, body = {}) {
    super(detail);
    this.status = status;
    this.body = body;
  }
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(BASE + path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The hub does not answer. Start it again with `retro-dash web`; this page will find it.", 0);
  }
  if (response.ok) return response;
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Not a problem document; the status says what there is to say.
  }
  const detail = typeof body.detail === "string" ? body.detail : `The hub answered ${response.status} to ${path}.`;
  throw new Problem(detail, response.status, body);
}

function query(parameters) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== null && value !== undefined && value !== "") for (const one of [value].flat()) search.append(name, one);
  const text = search.toString();
  return text ? `?${text}` : "";
}

export const get = async (path, parameters = {}, options = {}) => (await request(path + query(parameters), options)).json();
/** One page of a list, and the `next` one's query (null behind the last): `getPage(path + next)`. */
export async function getPage(path, parameters = {}) {
  const response = await request(path + query(parameters));
  return { rows: await response.json(), next: /<([^>]*)>; rel="next"/.exec(response.headers.get("link"))?.[1] ?? null };
}
export const getText = async (path) => (await request(path)).text();
export const post = async (path, body = {}, headers = {}) =>
  (await request(path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) })).json();
export const put = async (path, body) => (await request(path, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();
export const remove = (path) => request(path, { method: "DELETE" });
/** A file as it is, not as JSON. */
export const send = async (path, parameters, file) => (await request(path + query(parameters), { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file })).json();
export const id = encodeURIComponent;

const EVENTS = ["message", "token", "state", "reset", "turn", "trial_started", "trial_finished", "reflection", "finished"];

/**
 * Events after a cursor, from now on when it is null. Closed while the page is hidden, opened again from the last cursor when it is seen.
 * `onEvent(data, cursor)` for each, `onState("live"|"lost")` for the line. Returns a function that ends it.
 */
export function follow(path, cursor, onEvent, onState) {
  let source = null;
  let ended = false;
  let timer = 0;
  const open = () => {
    if (ended || source || document.hidden) return;
    source = new EventSource(BASE + path + query({ cursor }));
    source.onopen = () => onState("live");
    const hear = (message) => {
      if (message.lastEventId) cursor = Number(message.lastEventId);
      onEvent(JSON.parse(message.data), cursor);
    };
    for (const type of EVENTS) source.addEventListener(type, hear);
    source.onerror = (event) => {
      // The hub's own `error` events carry data; the line's do not.
      if (event.data !== undefined) return hear(event);
      close();
      onState("lost");
      timer = setTimeout(open, 1500);
    };
  };
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const seen = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", seen);
  addEventListener("pagehide", close);
  open();
  return () => {
    ended = true;
    close();
    document.removeEventListener("visibilitychange", seen);
    removeEventListener("pagehide", close);
  };
}

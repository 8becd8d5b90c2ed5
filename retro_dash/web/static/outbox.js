// Labels that the hub has not acknowledged yet. They live in the browser's storage, one entry each, so that a reload, a
// dead connection or a killed hub loses none; ids made here make sending twice harmless.

import { post } from "./api.js";

const PREFIX = "retro-unsaved-";
const BATCH = 100;
const RETRY_MS = [500, 1000, 2000, 4000, 8000];

/** A new id for a label. */
export const newId = () => crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function readAll() {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).map((key) => JSON.parse(localStorage.getItem(key))).sort((a, b) => a.order - b.order);
  } catch {
    return [];
  }
}

/**
 * `onSaved(labels)` for what the hub has stored, `onRefused(request, problem)` for what it never will,
 * `onState({unsaved, line, detail, isKept})` after every change; line: "live", "lost", "signed-out" or
 * "denied".
 */
export function openOutbox({ onSaved, onRefused, onState }) {
  const waiting = new Map(readAll().map((entry) => [entry.request.id, entry]));
  let line = "live";
  let detail = "";
  let isKept = true;
  let failures = 0;
  let work = null;
  let timer = 0;
  let order = 0;
  const empties = [];

  function tell() {
    onState({ unsaved: waiting.size, line, detail, isKept });
    document.dispatchEvent(new CustomEvent("rd-unsaved"));
  }

  function add(request) {
    order = Math.max(order + 1, Date.now());
    const entry = { order, request };
    waiting.set(request.id, entry);
    try {
      localStorage.setItem(PREFIX + request.id, JSON.stringify(entry));
    } catch {
      isKept = false;
    }
    tell();
    flush();
  }

  function drop(id) {
    waiting.delete(id);
    if (!waiting.size) empties.splice(0).forEach((done) => done());
    try {
      localStorage.removeItem(PREFIX + id);
    } catch {
      // Then it was not there either.
    }
  }

  function flush() {
    clearTimeout(timer);
    work ??= send().finally(() => {
      work = null;
      tell();
      if (waiting.size) timer = setTimeout(flush, line === "live" ? 0 : RETRY_MS[Math.min(failures, RETRY_MS.length) - 1]);
    });
    return work;
  }

  async function send() {
    while (waiting.size) {
      const batch = [...waiting.values()].slice(0, BATCH).map((entry) => entry.request);
      if (!(await deliver(batch))) return;
    }
  }

  /** Whether the hub has answered for all of them, be it with a refusal. */
  async function deliver(batch) {
    try {
      const stored = await post("/labels", { labels: batch });
      batch.forEach((request) => drop(request.id));
      answered();
      onSaved(stored.map((one) => one.label));
      return true;
    } catch (problem) {
      if (isTemporary(problem.status)) return void lost(problem);
      if (batch.length > 1) {
        for (const request of batch) if (!(await deliver([request]))) return false;
        return true;
      }
      drop(batch[0].id);
      answered();
      onRefused(batch[0], problem);
      return true;
    }
  }

  function answered() {
    [line, detail, failures] = ["live", "", 0];
    tell();
  }

  function lost(problem) {
    [line, detail, failures] = [{ 401: "signed-out", 403: "denied" }[problem.status] ?? "lost", problem.message, failures + 1];
    tell();
  }

  addEventListener("online", flush);
  document.addEventListener("visibilitychange", () => document.hidden || flush());
  return { add, flush, has: (id) => waiting.has(id), whenEmpty: () => (waiting.size ? new Promise((done) => empties.push(done)) : Promise.resolve()), requests: () => [...waiting.values()].map((entry) => entry.request), get size() { return waiting.size; }, start: () => { tell(); if (waiting.size) flush(); } };
}

const isTemporary = (status) => status === 0 || status === 401 || status === 403 || status === 408 || status === 429 || status >= 500;

// A database: its tables and columns, and the rows of the last query.

import { fill, h, keyed, setText } from "../dom.js";

export function draw(element, view) {
  const parts = element.__sql ?? build(element);
  const tables = view.tables ?? view.schema ?? [];
  const list = Array.isArray(tables) ? tables : Object.entries(tables).map(([name, columns]) => ({ name, columns }));
  setText(parts.database, String(view.database ?? view.db ?? ""));
  setText(parts.count, String(list.length));
  keyed(parts.tables, list, (table) => table.name, createTable, updateTable);
  showResult(parts.result, view.result ?? view.last_result ?? null, view);
}

function build(element) {
  const parts = { database: h("code", {}), count: h("span", { class: "dim" }), tables: h("ul", { class: "tables" }), result: h("div", {}) };
  fill(element, h("p", {}, "Database ", parts.database), h("h3", {}, "Last result"), parts.result, h("h3", {}, "Tables ", parts.count), parts.tables);
  element.__sql = parts;
  return parts;
}

function createTable(table) {
  return h("li", {}, h("details", {}, h("summary", {}, h("code", {}, table.name), h("span", { class: "dim small" })), h("ul", { class: "columns" })));
}

function updateTable(element, table) {
  const columns = (table.columns ?? []).map((column) => (typeof column === "string" ? { name: column } : column));
  const rows = table.rows ?? table.row_count;
  setText(element.querySelector("summary span"), ` ${columns.length} columns${Number.isFinite(rows) ? `, ${rows} rows` : ""}`);
  keyed(element.querySelector(".columns"), columns, (column) => column.name, (column) => h("li", {}, h("code", {}, column.name), " ",
    h("span", { class: "dim small" }, [column.type, column.is_key || column.key ? "key" : ""].filter(Boolean).join(", "))));
}

function showResult(element, result, view) {
  const rows = Array.isArray(result) ? result : result?.rows;
  if (!rows) return void fill(element, h("p", { class: "dim small" }, String(result?.error ?? view.error ?? "No query ran yet.")));
  const columns = result.columns ?? [];
  fill(element, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rows of the last query" },
    h("table", { class: "rows" },
      columns.length ? h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column)))) : null,
      h("tbody", {}, rows.slice(0, 50).map((row) => h("tr", {}, (Array.isArray(row) ? row : [row]).map((cell) => h("td", {}, cell === null ? "NULL" : String(cell)))))))),
    h("p", { class: "dim small" }, `${result.row_count ?? rows.length} rows${rows.length > 50 ? ", the first 50 shown" : ""}`));
}

// A database: the rows of the last query, its tables and columns, and after the end the right answer beside ours.

import { fill, h, keyed, number, plural, setText } from "../dom.js";

export function draw(element, view) {
  const parts = element.__sql ?? build(element);
  setText(parts.database, view.database);
  setText(parts.count, String(view.tables.length));
  keyed(parts.tables, view.tables, (table) => table.name, createTable);
  const key = JSON.stringify([view.last_result, view.outcome]);
  if (parts.result.dataset.key === key) return;
  parts.result.dataset.key = key;
  fill(parts.result, view.outcome ? outcomeOf(view.outcome) : null, h("h3", {}, "Last result"), view.last_result ? rowsOf(view.last_result) : h("p", { class: "dim small" }, "No query ran yet."));
}

function build(element) {
  const parts = { database: h("code", {}), count: h("span", { class: "dim" }), tables: h("ul", { class: "tables" }), result: h("div", {}) };
  fill(element, h("p", {}, "Database ", parts.database), parts.result, h("h3", {}, "Tables ", parts.count), parts.tables);
  element.__sql = parts;
  return parts;
}

function createTable(table) {
  return h("li", {}, h("details", {}, h("summary", {}, h("code", {}, table.name), h("span", { class: "dim small" }, ` ${plural(table.columns.length, "column")}`)),
    h("ul", { class: "columns" }, table.columns.map((column) => h("li", {}, h("code", {}, column.name), h("span", { class: "dim small" }, ` ${column.type}`, column.key ? ` ${column.key === true ? "key" : column.key}` : ""))),
      (table.foreign_keys ?? []).map((key) => h("li", { class: "dim small" }, key)))));
}

function outcomeOf(outcome) {
  const right = outcome.reward >= 1;
  return [h("dl", { class: `answer ${right ? "success" : "failure"}` }, h("dt", {}, "Reward"), h("dd", {}, `${right ? "✓" : "✕"} ${number(outcome.reward)}`),
    outcome.is_submitted ? null : [h("dt", {}, "Not submitted"), h("dd", {}, `would have scored ${number(outcome.would_score)}`)], h("dt", {}, "Right query"), h("dd", {}, h("code", {}, outcome.gold_query))),
    h("h3", {}, "Right answer"), rowsOf(outcome.gold)];
}

function rowsOf({ columns, rows, row_count: count, error }) {
  if (!rows) return h("p", { class: error ? "problem" : "dim small" }, error ?? "No rows.");
  return [h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rows" }, h("table", { class: "rows" },
    h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", { class: cell === null ? "dim" : "" }, cell === null ? "NULL" : String(cell)))))))),
    h("p", { class: "dim small" }, `${plural(count, "row")}${count > rows.length ? `, the first ${rows.length} shown` : ""}`)];
}

/** The ledger of every partition: nothing vanishes, and here is the count. */

import { byId, html, reconcile, setAttributes, setText } from "./dom.js";
import { compact, number, printable } from "./format.js";

const COLUMNS = [["received", "Received"], ["stored", "Stored"], ["dead_lettered", "Dead letters"], ["duplicate", "Duplicates"],
  ["filtered", "Filtered"], ["in_flight", "In flight"], ["imbalance", "Imbalance"]];

/**
 * @param {any} ledger the answer of /api/v1/ledger, or null
 * @param {Record<string, number|null>} lag by partition; null where it is not known
 */
export function showPartitions(ledger, lag) {
  const table = byId("partitions");
  if (!table.tHead) {
    const heads = ["Partition", ...COLUMNS.map(([, title]) => title), "Lag"];
    table.append(html("thead", {}, html("tr", {}, ...heads.map((title, index) => html("th", { scope: "col", class: index ? "number" : null }, title)))), html("tbody"));
  }
  if (!ledger) return;
  const rows = ledger.partitions ?? [];
  reconcile(table.tBodies[0], rows, { key: (row) => String(row.partition), make: makeRow, update: (element, row) => updateRow(element, row, lag) });
  table.hidden = rows.length === 0;
  byId("partitions-empty").hidden = rows.length > 0;
  setText(byId("partitions-empty"), "No partition yet: each source appears here with its first event.");
}

function makeRow() {
  return html("tr", {}, html("th", { scope: "row" }), ...COLUMNS.map(() => html("td", { class: "number" })), html("td", { class: "number" }));
}

/** @param {HTMLTableRowElement} element @param {any} row @param {Record<string, number|null>} lag */
function updateRow(element, row, lag) {
  setText(element.cells[0], printable(row.partition));
  COLUMNS.forEach(([name], index) => setText(element.cells[index + 1], number(row[name])));
  setText(element.cells[COLUMNS.length + 1], Object.hasOwn(lag, row.partition) ? compact(lag[row.partition]) : "–");
  setAttributes(element, { class: row.imbalance ? "bad" : null });
}

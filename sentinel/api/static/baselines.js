/** What is normal for every series and metric, over time or of single events: a table to sort and to search. */

import { byId, html, reconcile, setAttributes, setText, toggle } from "./dom.js";
import { clock, iso, metricFormat, number, percent, printable, shorten } from "./format.js";

const MOST_ROWS = 200;
const NAME_LENGTH = 44;
const NONE_YET = {
  window: "No time windows are expected yet: they appear once a series has been watched for a while.",
  event: "No baselines yet: they appear after the first events of a series.",
};

/** @typedef {{name: string, title: string, text?: boolean, show: (row: any, format: (value: number|null) => string) => string}} Column */

/** @type {Column[]} */
const NAMES = [
  { name: "service", title: "Service", text: true, show: (row) => shorten(printable(row.service), NAME_LENGTH) },
  { name: "model", title: "Model", text: true, show: (row) => shorten(printable(row.model), NAME_LENGTH) },
  { name: "metric", title: "Metric", text: true, show: (row) => printable(row.metric) },
];
/** @type {Column} */
const SAMPLES = { name: "samples", title: "Samples", show: (row) => number(row.samples) };
/** @type {Column} */
const UPDATED = { name: "updated_at", title: "Updated", text: true, show: (row) => clock(Date.parse(row.updated_at)) };
/** @type {Record<string, Column[]>} by kind */
const COLUMNS = {
  window: [
    ...NAMES,
    ...numbers([["latest", "Now"], ["expected", "Expected"], ["lower", "Lower"], ["upper", "Upper"]]),
    { name: "confidence", title: "Confidence", show: (row) => percent(row.confidence) },
    SAMPLES,
    { name: "open", title: "State", text: true, show: (row) => (row.open ? "anomalous" : "as expected") },
    UPDATED,
  ],
  event: [
    ...NAMES,
    SAMPLES,
    ...numbers([["median", "Median"], ["q1", "q1"], ["q3", "q3"], ["lower", "Lower"], ["upper", "Upper"], ["mean", "Mean"], ["stddev", "Std dev"], ["p95", "p95"], ["p99", "p99"], ["max", "Max"]]),
    UPDATED,
  ],
};

/** @param {[string, string][]} columns names and titles @returns {Column[]} */
function numbers(columns) {
  return columns.map(([name, title]) => ({ name, title, show: (row, format) => format(row[name]) }));
}

/**
 * The rows that contain every word of a search, in the wished order.
 * @param {any[]} rows
 * @param {string} search
 * @param {{name: string, ascending: boolean}} order
 */
export function arrange(rows, search, { name, ascending }) {
  const wanted = search.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (row) => {
    const text = `${row.service} ${row.model} ${row.metric}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  };
  const text = Object.values(COLUMNS).flat().find((column) => column.name === name)?.text;
  const compare = (one, other) => (text ? String(one[name]).localeCompare(String(other[name])) : (one[name] ?? -Infinity) - (other[name] ?? -Infinity));
  const tie = (one, other) => identity(one).localeCompare(identity(other));
  return rows.filter(fits).sort((one, other) => (ascending ? 1 : -1) * compare(one, other) || tie(one, other));
}

/** @param {any} row */
function identity(row) {
  return JSON.stringify([row.kind, row.tenant, row.service, row.model, row.metric, row.partition]);
}

export class BaselineTable {
  /**
   * @param {(changes: Record<string, string>) => void} select told which kind a person wants to see
   * @param {(row: any) => void} choose told which row's events a person wants to see
   */
  constructor(select, choose) {
    this.choose = choose;
    this.order = { name: "service", ascending: true };
    this.rows = null;
    this.kind = "";
    this.body = html("tbody");
    this.headRow = html("tr");
    byId("baselines").append(html("thead", {}, this.headRow), this.body);
    byId("baseline-search").addEventListener("input", () => this.draw());
    this.showKind = toggle(Object.keys(COLUMNS), "baselines", (baselines) => select({ baselines }));
  }

  /** @param {Column} column */
  head(column) {
    const button = html("button", { type: "button", class: "sort" }, column.title);
    button.addEventListener("click", () => {
      const ascending = this.order.name === column.name ? !this.order.ascending : Boolean(column.text);
      this.order = { name: column.name, ascending };
      this.draw();
    });
    return html("th", { scope: "col", class: column.text ? null : "number" }, button);
  }

  /**
   * @param {{kind: string, baselines: any[], missing: any[]}|null} answer null before it came; `missing` are replicas that did not answer
   * @param {string} kind the one that is wanted
   * @param {number} limit how many were asked for
   */
  update(answer, kind, limit) {
    this.showKind(kind);
    this.rows = answer?.kind === kind ? answer.baselines : null;
    this.limit = limit;
    this.missing = answer?.missing ?? [];
    if (this.rows && this.kind !== kind) {
      this.kind = kind;
      this.columns = COLUMNS[kind];
      this.heads = this.columns.map((column) => this.head(column));
      this.headRow.replaceChildren(...this.heads);
      if (!this.columns.some((column) => column.name === this.order.name)) this.order = { name: "service", ascending: true };
    }
    this.draw();
  }

  draw() {
    if (!this.rows) return;
    const search = byId("baseline-search").value;
    const arranged = arrange(this.rows, search, this.order);
    this.columns.forEach((column, index) => setAttributes(this.heads[index], {
      "aria-sort": column.name === this.order.name ? (this.order.ascending ? "ascending" : "descending") : null,
    }));
    reconcile(this.body, arranged.slice(0, MOST_ROWS), { key: identity, make: (row) => this.makeRow(row), update: (element, row) => this.updateRow(element, row) });
    byId("baselines").hidden = arranged.length === 0;
    byId("baselines-empty").hidden = arranged.length > 0;
    setText(byId("baselines-empty"), this.rows.length > 0 ? "No baseline fits this search." : NONE_YET[this.kind]);
    setText(byId("baselines-note"), this.note(arranged.length));
  }

  /** What is left out. @param {number} found */
  note(found) {
    const parts = [];
    if (found > MOST_ROWS) parts.push(`${MOST_ROWS} of ${number(found)} baselines; search to narrow them down.`);
    if (this.rows.length >= this.limit) parts.push(`Only the first ${number(this.limit)} baselines are read; choose a series above to see any other.`);
    for (const one of this.missing) parts.push(`Without replica ${printable(one.replica)}: ${printable(one.reason)}.`);
    return parts.join(" ");
  }

  /** @param {any} row */
  makeRow(row) {
    const cells = this.columns.map((column) => html("td", { class: column.text ? null : "number" }));
    const button = html("button", { type: "button", class: "link", title: "Show the events of this series in this metric" }, printable(row.metric));
    button.addEventListener("click", () => this.choose(row));
    cells[2].append(button);
    return html("tr", {}, ...cells);
  }

  /** @param {HTMLTableRowElement} element @param {any} row */
  updateRow(element, row) {
    const format = metricFormat(String(row.metric));
    this.columns.forEach((column, index) => {
      if (column.name !== "metric") setText(element.cells[index], column.show(row, format));
    });
    setAttributes(element, { class: row.open ? "open" : null });
    setAttributes(element.cells[0], { title: printable(row.service) });
    setAttributes(element.cells[1], { title: printable(row.model) });
    setAttributes(element.cells[element.cells.length - 1], { title: `${iso(Date.parse(row.updated_at))}, partition ${printable(row.partition)}` });
  }
}

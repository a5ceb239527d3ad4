/** The table of the latest anomalies of single events: one row for a series and minute, opened to its single anomalies. */

import { byId, html, reconcile, setAttributes, setText } from "./dom.js";
import { clock, dateTime, iso, metricFormat, number, printable, shorten, words } from "./format.js";
import { groupAnomalies } from "./groups.js";
import { severitySign } from "./scatter.js";

export const SEVERITIES = ["critical", "warning", "info"];
const COLUMNS = ["Time", "Severity", "Series", "What", "Value", "Expected", "Score", "Detector"];
const DAY_MS = 86_400_000;

export class AnomalyTable {
  /** @param {(anomaly: any) => void} choose */
  constructor(choose) {
    this.choose = choose;
    /** @type {Set<string>} keys of groups that stand open */
    this.open = new Set();
    this.body = html("tbody");
    byId("anomalies").append(html("thead", {}, html("tr", {}, ...COLUMNS.map((name) => html("th", { scope: "col" }, name)))), this.body);
  }

  /**
   * @param {any[]} anomalies
   * @param {string} chosen id
   */
  update(anomalies, chosen) {
    this.anomalies = anomalies;
    this.chosen = chosen;
    reconcile(this.body, this.rows(groupAnomalies(anomalies)), {
      key: (row) => row.key,
      make: (row) => this.makeRow(row),
      update: (element, row) => this.updateRow(element, row),
    });
  }

  /** A row for each group, and one for each member of an open group. @param {import("./groups.js").AnomalyGroup[]} groups */
  rows(groups) {
    return groups.flatMap((group) => {
      const head = { key: group.key, group, anomaly: group.strongest, member: false };
      if (group.members.length === 1 || !this.open.has(group.key)) return [head];
      return [head, ...group.members.map((anomaly) => ({ key: `member ${anomaly.id}`, group, anomaly, member: true }))];
    });
  }

  /** @param {any} row */
  makeRow(row) {
    const cells = COLUMNS.map((name) => html("td", { "data-label": name }));
    const element = html("tr", { class: row.member ? "member" : null }, ...cells);
    const what = html("button", { type: "button", class: "link" });
    what.addEventListener("click", () => this.choose(element.row.anomaly));
    const explanation = html("span", { class: "explanation" });
    cells[3].append(what, explanation);
    const parts = { cells, what, explanation, expand: null };
    if (!row.member) {
      parts.expand = html("button", { type: "button", class: "expand", hidden: true });
      parts.expand.addEventListener("click", () => this.toggle(element.row.group.key));
      cells[3].prepend(parts.expand);
    }
    element.parts = parts;
    return element;
  }

  /** @param {any} element @param {any} row */
  updateRow(element, row) {
    element.row = row;
    const { anomaly, group, member } = row;
    const { cells, what, explanation, expand } = element.parts;
    const many = !member && group.members.length > 1;
    const at = member ? Date.parse(anomaly.timestamp) : group.at;
    const format = metricFormat(String(anomaly.metric));
    setText(cells[0], Date.now() - at > DAY_MS / 2 ? dateTime(at) : clock(at));
    setAttributes(cells[0], { title: iso(at) });
    if (cells[1].dataset.severity !== anomaly.severity) {
      cells[1].dataset.severity = anomaly.severity;
      cells[1].replaceChildren(severityBadge(anomaly.severity));
    }
    setText(cells[2], member ? "" : `${shorten(printable(anomaly.service), 40)} / ${shorten(printable(anomaly.model), 40)}`);
    setAttributes(cells[2], { title: `${printable(anomaly.service)} / ${printable(anomaly.model)}` });
    setText(what, `${words(anomaly.type)} (${printable(anomaly.metric)})`);
    setText(explanation, printable(anomaly.explanation));
    setText(cells[4], format(anomaly.value));
    setText(cells[5], expectedBand(anomaly, format));
    setText(cells[6], `${number(anomaly.score)}×`);
    setText(cells[7], many ? group.detectors.map(printable).join(", ") : printable(anomaly.detector));
    setAttributes(element, { class: [member ? "member" : "", anomaly.id === this.chosen ? "chosen" : ""].join(" ").trim() || null });
    if (expand) this.updateExpand(expand, group, many);
  }

  /** @param {HTMLElement} expand @param {import("./groups.js").AnomalyGroup} group @param {boolean} many */
  updateExpand(expand, group, many) {
    const open = this.open.has(group.key);
    expand.hidden = !many;
    setText(expand, `${open ? "▾" : "▸"} ${group.members.length}`);
    setAttributes(expand, {
      "aria-expanded": String(open),
      "aria-label": `${group.members.length} anomalies of this series in this minute; the strongest is shown`,
      title: `${group.members.length} anomalies of this series in this minute: ${group.types.map(words).join(", ")}`,
    });
  }

  /** @param {string} key */
  toggle(key) {
    if (!this.open.delete(key)) this.open.add(key);
    this.update(this.anomalies, this.chosen);
  }
}

/** A severity as sign and word. @param {string} severity */
export function severityBadge(severity) {
  return html("span", { class: `badge ${SEVERITIES.includes(severity) ? severity : "info"}` }, severitySign(severity), printable(severity));
}

/**
 * The expected band in words. No metric is ever below zero, so a lower end there says nothing.
 * @param {any} anomaly
 * @param {(value: number|null) => string} format
 */
export function expectedBand(anomaly, format) {
  const { upper, expected } = anomaly;
  const lower = anomaly.lower > 0 ? anomaly.lower : null;
  if (Number.isFinite(lower) && Number.isFinite(upper)) return `${format(lower)} to ${format(upper)}`;
  if (Number.isFinite(upper)) return `up to ${format(upper)}`;
  if (Number.isFinite(lower)) return `from ${format(lower)}`;
  return Number.isFinite(expected) ? `about ${format(expected)}` : "–";
}


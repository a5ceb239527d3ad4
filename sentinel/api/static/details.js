/** One anomaly in full: what happened, against what it was judged, and where to look further. */

import { expectedBand, severityBadge } from "./anomalies.js";
import { byId, copyButton, html, svg } from "./dom.js";
import { dateTime, iso, metricFormat, number, percent, printable, words } from "./format.js";
import { contributorChips, markerChips, traces } from "./windows.js";

const DETECTOR_WORDS = {
  zscore: "z-score: distance from the mean in standard deviations",
  iqr: "IQR: distance beyond the quartiles",
  mad: "MAD: distance from the median in median deviations",
  cusum: "CUSUM: the level has moved and stays moved",
  threshold: "threshold: a fixed limit from the configuration",
  level: "level: the level of a time window against its baseline of hours",
  rate: "rate: a share or a count of a time window against what chance allows",
  silence: "silence: no traffic where there should be some",
  drift: "drift: a distribution has moved",
  usage: "usage: one user has an unusual part",
  multivariate: "multivariate: several metrics are unusual together",
};
/** @type {any} the anomaly shown */
let shown;

/**
 * Shows an anomaly, or how to choose one.
 * @param {any} anomaly null for none
 * @param {Map<string, any>} markers by id
 * @param {() => void} close
 */
export function showDetails(anomaly, markers, close) {
  const panel = byId("details");
  const fresh = JSON.stringify([anomaly ?? null, (anomaly?.markers ?? []).map((id) => markers.get(id) ?? null)]);
  if (fresh === shown) return;
  shown = fresh;
  if (!anomaly) {
    panel.replaceChildren(html("h3", {}, "Details"), html("p", { class: "empty" }, "Choose an anomaly above or a marked one in the plot to see why it was raised."));
    return;
  }
  const format = metricFormat(String(anomaly.metric));
  const closeButton = html("button", { type: "button", class: "quiet", "aria-label": "Close the details" }, "Close");
  closeButton.addEventListener("click", close);
  panel.replaceChildren(
    html("div", { class: "details-head" }, severityBadge(anomaly.severity), closeButton),
    html("h3", {}, words(anomaly.type)),
    html("p", { class: "lead" }, printable(anomaly.explanation)),
    gauge(anomaly, format),
    html("div", { class: "chips" }, ...contributorChips(anomaly), ...markerChips(anomaly, markers)),
    ...[traces(anomaly)].filter(Boolean),
    facts(anomaly, format),
  );
}

/**
 * @param {any} anomaly
 * @param {(value: number|null) => string} format
 */
function facts(anomaly, format) {
  const at = Date.parse(anomaly.timestamp);
  const spread = Number.isFinite(anomaly.baseline_stddev) ? ` ± ${format(anomaly.baseline_stddev)}` : "";
  const baseline = Number.isFinite(anomaly.baseline_mean) ? `mean ${format(anomaly.baseline_mean)}${spread}` : "–";
  const since = anomaly.since ? [["Since", `${dateTime(Date.parse(anomaly.since))} (${iso(Date.parse(anomaly.since))})`]] : [];
  const rows = [
    ["Value", format(anomaly.value)],
    ["Expected band", expectedBand(anomaly, format)],
    ["Score", `${number(anomaly.score)}× the threshold`],
    ["Detector", DETECTOR_WORDS[anomaly.detector] ?? printable(anomaly.detector)],
    ["Baseline", `${baseline}, ${number(anomaly.samples)}${anomaly.window > 0 ? ` of ${number(anomaly.window)}` : ""} samples`],
    ["z-score", number(anomaly.z_score)],
    ["Direction", printable(anomaly.direction)],
    ["Confidence", percent(anomaly.confidence)],
    ["Metric", printable(anomaly.metric)],
    ["Service", printable(anomaly.service)],
    ["Model", printable(anomaly.model)],
    ...since,
    ["Time", `${dateTime(at)} (${iso(at)})`],
    ["Trace", anomaly.trace_id, true],
    ["Event", anomaly.event_id, true],
    ["Position", `${printable(anomaly.partition)}, offset ${printable(anomaly.offset)}`],
    ["Anomaly", anomaly.id, true],
  ];
  return html("dl", { class: "facts" }, ...rows.flatMap(([name, value, identifier]) => [html("dt", {}, name), fact(name, value, identifier)]));
}

/** @param {string} name @param {any} value @param {boolean} [identifier] */
function fact(name, value, identifier) {
  if (!identifier || !value) return html("dd", {}, identifier ? "none" : value);
  return html("dd", {}, html("code", {}, printable(value)), copyButton(`Copy the ${name.toLowerCase()} id`, () => String(value)));
}

/**
 * The value against its expected band, drawn to scale.
 * @param {any} anomaly
 * @param {(value: number|null) => string} format
 */
function gauge(anomaly, format) {
  const { value, lower, upper, expected } = anomaly;
  const known = [value, lower, upper, expected].filter(Number.isFinite);
  if (!Number.isFinite(value) || known.length < 3) return null;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const at = (number) => 10 + ((number - low) / (high - low || 1)) * 280;
  const bar = [svg("line", { class: "base", x1: 10, x2: 290, y1: 16, y2: 16 })];
  const [from, to] = [Number.isFinite(lower) ? at(lower) : 10, Number.isFinite(upper) ? at(upper) : 290];
  bar.push(svg("rect", { class: "band", x: from, y: 8, width: Math.max(2, to - from), height: 16 }));
  if (Number.isFinite(expected)) bar.push(svg("line", { class: "median", x1: at(expected), x2: at(expected), y1: 8, y2: 24 }));
  const severity = ["critical", "warning", "info"].includes(anomaly.severity) ? anomaly.severity : "info";
  bar.push(svg("circle", { class: `mark severity-${severity}`, cx: at(value), cy: 16, r: 6 }));
  const label = `${format(value)} against an expected band of ${expectedBand(anomaly, format)}`;
  return svg("svg", { class: "gauge", viewBox: "0 0 300 32", role: "img", "aria-label": label }, ...bar);
}

/** The key figures. Each is a value, a line that explains it, and a state that is told in words as well as by colour. */

import { byId, html, setAttributes, setText, svg } from "./dom.js";
import { bytes, compact, duration, isNumber, milliseconds, number, percent, usd } from "./format.js";
import { severitySign } from "./scatter.js";

/**
 * @typedef {object} Tile
 * @property {string} value
 * @property {string} note
 * @property {"bad"|"warn"|""} [state]
 * @property {number} [share] 0 to 1: a bar
 * @property {Record<string, number>} [severities]
 */

const SPARK_POINTS = 60;
const SPARK_LEAST = 15;
const ALMOST_FULL = 0.8;
const RECENT_STEPS = 5;
/** @type {Tile} what stands where no answer has come yet */
const UNREAD = { value: "–", note: "not read" };
/** @type {[string, (status: any) => Tile][]} the tiles that stand on the status alone */
const STATUS_TILES = [
  ["Stored", storedTile],
  ["Dead letters", deadLetterTile],
  ["Queue", queueTile],
  ["Behind the source", lagTile],
  ["Series watched", (status) => ({ value: compact(status.series), note: `${compact(status.windows)} windows` })],
  ["Memory", (status) => ({ value: bytes(status.rss_bytes), note: `store ${bytes(status.store?.bytes ?? status.store?.database_bytes)}` })],
];
/** @type {Map<string, any>} the elements of each tile */
const tiles = new Map();
/** @type {number[]} events/s of the latest rounds */
const rates = [];

/**
 * @param {{status: any, ledger: any, points: any[]|null, stepS: number, recent: any, stale: boolean}} view `points` of the last hour at
 *     least or null, `recent` the anomalies of the last hour with the limit they were asked with
 */
export function showTiles({ status, ledger, points, stepS, recent, stale }) {
  byId("tiles").classList.toggle("stale", stale);
  if (status && !stale) {
    rates.push(status.events_per_s ?? 0);
    rates.splice(0, rates.length - SPARK_POINTS);
  }
  show("Events per second", status ? eventsTile(status) : UNREAD, rates);
  show("Anomalies", recent ? anomaliesTile(recent, status) : UNREAD);
  show("Latency p95", latencyTile(points, stepS));
  show("Error rate", errorTile(points, stepS));
  show("Cost, last hour", costTile(points, stepS));
  show("Ledger", ledgerTile(ledger));
  for (const [title, tile] of STATUS_TILES) show(title, status ? tile(status) : UNREAD);
}

/** @param {any} status @returns {Tile} */
function eventsTile(status) {
  return { value: number(status.events_per_s), note: `${compact(status.events_received)} received` };
}

/** @param {any} recent @param {any} status @returns {Tile} */
function anomaliesTile(recent, status) {
  const severities = { critical: 0, warning: 0, info: 0 };
  for (const anomaly of recent.anomalies) if (Object.hasOwn(severities, anomaly.severity)) severities[anomaly.severity] += 1;
  const many = recent.anomalies.length >= recent.limit;
  const inAll = status?.store?.anomalies > 0 ? `; ${compact(status.store.anomalies)} stored in all` : "";
  return {
    value: `${number(recent.anomalies.length)}${many ? " or more" : ""}`,
    note: `over time, in the last hour${inAll}`,
    severities,
    state: severities.critical > 0 ? "bad" : "",
  };
}

/** @param {any[]|null} points @param {number} stepS @returns {Tile} */
function latencyTile(points, stepS) {
  if (!points) return UNREAD;
  const known = points.filter((point) => isNumber(point.latency_p95_ms));
  const point = known.findLast((candidate) => !candidate.open) ?? known.at(-1);
  if (!point) return { value: "–", note: "no requests yet" };
  const when = point.open ? "so far" : `last full ${stepS === 60 ? "minute" : `${stepS / 60} min`}`;
  return { value: milliseconds(point.latency_p95_ms), note: `p50 ${milliseconds(point.latency_p50_ms)}, ${when}` };
}

/** @param {any[]|null} points @param {number} stepS @returns {Tile} */
function errorTile(points, stepS) {
  if (!points) return UNREAD;
  const recent = points.slice(-RECENT_STEPS);
  const [errors, requests] = [total(recent, "errors"), total(recent, "requests")];
  if (requests === 0) return { value: "–", note: "no requests lately" };
  return { value: percent(errors / requests), note: `${compact(errors)} of ${compact(requests)}, ${(RECENT_STEPS * stepS) / 60} min` };
}

/** @param {any[]|null} points @param {number} stepS @returns {Tile} */
function costTile(points, stepS) {
  if (!points) return UNREAD;
  const hour = points.slice(-Math.ceil(3600 / stepS));
  const recent = hour.filter((point) => !point.open).slice(-RECENT_STEPS);
  const rate = recent.length > 0 ? (total(recent, "cost_usd") / recent.length) * (3600 / stepS) : null;
  return { value: usd(total(hour, "cost_usd")), note: rate === null ? "" : `now ${usd(rate)} per hour` };
}

/** @param {any} ledger @returns {Tile} */
function ledgerTile(ledger) {
  if (!ledger) return UNREAD;
  const inFlight = total(ledger.partitions ?? [], "in_flight");
  const imbalance = (ledger.partitions ?? []).reduce((sum, row) => sum + Math.abs(row.imbalance ?? 0), 0);
  if (ledger.balanced) return { value: "✓ Balanced", note: `${compact(inFlight)} in flight` };
  return { value: `✗ ${compact(imbalance)} off`, note: "events unaccounted for", state: "bad" };
}

/** @param {any} status @returns {Tile} */
function storedTile(status) {
  return { value: compact(status.events_stored), note: `${compact(status.duplicates)} duplicates dropped` };
}

/** @param {any} status @returns {Tile} */
function deadLetterTile(status) {
  const letters = status.dead_letters;
  const share = status.events_received > 0 ? letters / status.events_received : null;
  return { value: compact(letters), note: letters > 0 ? `${percent(share)} of received` : "none", state: letters > 0 ? "warn" : "" };
}

/** @param {any} status @returns {Tile} */
function queueTile(status) {
  const share = status.queue_max_bytes > 0 ? Math.min(1, status.queue_bytes / status.queue_max_bytes) : undefined;
  const state = status.paused ? "bad" : share > ALMOST_FULL ? "warn" : "";
  const note = status.paused ? "full: reading is paused" : `${bytes(status.queue_bytes)} of ${bytes(status.queue_max_bytes)}`;
  return { value: percent(share), note, share, state };
}

/** @param {any} status @returns {Tile} */
function lagTile(status) {
  const lags = Object.values(status.lag ?? {});
  const known = lags.filter(isNumber);
  if (lags.length === 0) return { value: "–", note: status.mode === "kafka" ? "no partitions yet" : "no log to lag behind" };
  if (known.length === 0) return { value: "?", note: `unknown for ${lags.length} partitions`, state: "warn" };
  const sum = known.reduce((total, lag) => total + lag, 0);
  const rate = status.events_per_s;
  const unknown = lags.length - known.length;
  const note = unknown > 0 ? `unknown for ${unknown} of ${lags.length}` : sum > 0 && rate > 0 ? `${duration(sum / rate)} at this rate` : `${lags.length} partitions`;
  return { value: compact(sum), note, state: unknown > 0 ? "warn" : "" };
}

/** @param {any[]} rows @param {string} name */
function total(rows, name) {
  return rows.reduce((sum, row) => sum + (row[name] ?? 0), 0);
}

/**
 * @param {string} title
 * @param {Tile} tile
 * @param {number[]} [history] drawn as a line without axes
 */
function show(title, tile, history) {
  const parts = tiles.get(title) ?? make(title);
  setAttributes(parts.element, { class: `card tile ${tile.state ?? ""}` });
  setText(parts.value, tile.value);
  setText(parts.note, tile.note);
  parts.bar.hidden = tile.share === undefined;
  if (tile.share !== undefined) parts.fill.style.width = `${(tile.share * 100).toFixed(1)}%`;
  if (tile.severities) showSeverities(parts, tile.severities);
  if (history) drawSpark(parts.spark, history);
}

/** @param {string} title */
function make(title) {
  const parts = { value: html("p", { class: "value" }), note: html("p", { class: "note" }), fill: html("span"), chips: null };
  parts.bar = html("div", { class: "bar", hidden: true, "aria-hidden": "true" }, parts.fill);
  parts.spark = svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" });
  parts.element = html("div", { class: "card tile" }, html("h3", {}, title), parts.value, parts.note, parts.bar);
  if (title === "Events per second") parts.element.append(parts.spark);
  byId("tiles").append(parts.element);
  tiles.set(title, parts);
  return parts;
}

/** @param {any} parts @param {Record<string, number>} severities */
function showSeverities(parts, severities) {
  if (!parts.chips) {
    parts.chips = Object.fromEntries(Object.keys(severities).map((name) => [name, html("b")]));
    const chips = Object.keys(severities).map((name) => html("li", { title: name }, severitySign(name), parts.chips[name], html("span", { class: "unseen" }, ` ${name}`)));
    parts.element.append(html("ul", { class: "severities" }, ...chips));
  }
  for (const [name, count] of Object.entries(severities)) setText(parts.chips[name], compact(count));
}

/** @param {SVGElement} spark @param {number[]} history */
function drawSpark(spark, history) {
  const top = Math.max(...history, 1e-9);
  const places = Math.max(SPARK_LEAST, history.length) - 1;
  const offset = places + 1 - history.length;
  const d = history.map((value, index) => `${index ? "L" : "M"}${(((offset + index) / places) * 100).toFixed(2)} ${(22 - (value / top) * 20).toFixed(2)}`);
  spark.replaceChildren(svg("path", { class: "line line-a", d: d.join("") }));
}

/** The status page: asks the daemon every two seconds and shows the answers. */

import { address, ApiError, EXAMPLE_EVENT, keyOption, PATHS, query, read } from "./api.js";
import { BaselineTable } from "./baselines.js";
import { showDetails } from "./details.js";
import { byId, copyButton, setAttributes, setText } from "./dom.js";
import { clock, printable, shorten } from "./format.js";
import { stronger } from "./groups.js";
import { showHeader, showNotices } from "./header.js";
import { AnomalySection } from "./overview.js";
import { showPartitions } from "./partitions.js";
import { Poller } from "./poll.js";
import { parseSelection, stepSeconds, writeSelection } from "./selection.js";
import { eventMetric, parseSeries, SeriesPanel, seriesValue } from "./series.js";
import { showTiles } from "./tiles.js";
import { fillSteps, Traffic } from "./traffic.js";

const POLL_MS = 2000;
const EVENTS_SHOWN = 400;
const TABLE_LIMIT = 200;
const RECENT_LIMIT = 500;
const BASELINE_LIMIT = 1000;
const MARKER_LIMIT = 1000;

let selection = parseSelection(location.hash);
/** The latest answer to each question; null before the first. */
const answers = { status: null, ledger: null, points: null, services: [], recent: null, anomalies: null, events: null,
  seriesAnomalies: [], seriesBaselines: [], baselines: null, chosen: null, answeredAt: null,
  markers: new Map() };

const minutes = () => Number(selection.range);
const hours = () => Math.max(1, minutes() / 60);
const chosenSeries = () => ({ service: selection.service, model: selection.model });

/** When the chosen anomaly lies before the events shown: the time up to which to show them instead. @type {number|null} */
let until = null;

const tasks = [
  { name: "status", every: 1, run: async (signal) => {
    answers.status = await read(PATHS.status, {}, signal);
    answers.answeredAt = Date.now();
  } },
  { name: "ledger", every: 2, run: async (signal) => { answers.ledger = await read(PATHS.ledger, {}, signal); } },
  { name: "traffic", every: 2, run: readTraffic },
  { name: "recent", every: 3, run: readRecent },
  { name: "anomalies", every: 1, run: readAnomalies },
  { name: "series", every: 1, run: readSeries },
  { name: "services", every: 5, run: readServices },
  { name: "baselines", every: 5, run: readBaselines },
];

/** @param {AbortSignal} signal */
async function readTraffic(signal) {
  const stepS = stepSeconds(minutes());
  const question = { minutes: Math.max(60, minutes()), step_s: stepS, by_series: false, limit: 1 };
  const { series } = await query(PATHS.timeseries, question, signal);
  answers.points = fillSteps(series[0]?.points ?? [], stepS, Date.now());
}

/** The anomalies of time windows of the last hour, whatever the filters. @param {AbortSignal} signal */
async function readRecent(signal) {
  const { anomalies } = await read(PATHS.anomalies, { hours: 1, limit: RECENT_LIMIT, kind: "window" }, signal);
  answers.recent = { anomalies, limit: RECENT_LIMIT };
}

/** @param {AbortSignal} signal */
async function readAnomalies(signal) {
  const [service, model] = selection.series ? parseSeries(selection.series) : ["", ""];
  const { severity, detector, kind } = selection;
  const { anomalies } = await read(PATHS.anomalies, { hours: hours(), limit: TABLE_LIMIT, severity, detector, kind, service, model }, signal);
  await readMarkers(anomalies, signal);
  answers.anomalies = anomalies;
}

/** What the anomalies' markers say; those that are known are not asked for again. @param {any[]} anomalies @param {AbortSignal} signal */
async function readMarkers(anomalies, signal) {
  const named = anomalies.flatMap((anomaly) => anomaly.markers ?? []);
  if (named.every((id) => answers.markers.has(id))) return;
  const { markers } = await read(PATHS.markers, { limit: MARKER_LIMIT }, signal);
  // One that is too old to be listed is remembered as unknown.
  answers.markers = new Map([...named.map((id) => [id, null]), ...markers.map((marker) => [marker.id, marker])]);
}

/** @param {AbortSignal} signal */
async function readBaselines(signal) {
  const kind = selection.baselines;
  const { baselines, missing = [] } = await read(PATHS.baselines, { limit: BASELINE_LIMIT, kind }, signal);
  answers.baselines = { kind, baselines, missing };
}

/** @param {AbortSignal} signal */
async function readServices(signal) {
  answers.services = (await read(PATHS.services, {}, signal)).services;
}

/** The chosen series: its events, its anomalies, its baseline. @param {AbortSignal} signal */
async function readSeries(signal) {
  if (answers.services.length === 0) await readServices(signal);
  if (!selection.service && !answers.recent) await readRecent(signal);
  completeSelection();
  if (!selection.service) {
    answers.events = [];
    return;
  }
  const { metric } = selection;
  const [events, anomalies, baselines] = await Promise.all([
    readEvents(signal),
    read(PATHS.anomalies, { ...chosenSeries(), metric, hours: hours(), limit: TABLE_LIMIT, kind: "event" }, signal),
    read(PATHS.baselines, { ...chosenSeries(), metric, kind: "event" }, signal),
  ]);
  Object.assign(answers, { events, seriesAnomalies: anomalies.anomalies, seriesBaselines: baselines.baselines });
}

/** The latest events; once the chosen anomaly is older than these, the events up to it. @param {AbortSignal} signal */
async function readEvents(signal) {
  await readChosen(signal);
  if (until === null) {
    const { data } = await read(PATHS.telemetry, { ...chosenSeries(), hours: hours(), limit: EVENTS_SHOWN }, signal);
    const at = Date.parse(answers.chosen?.timestamp);
    if (!Number.isFinite(at) || data.some((event) => Date.parse(event.timestamp) <= at)) return data;
    until = at;
  }
  const range = { start: new Date(until - hours() * 3_600_000).toISOString(), end: new Date(until + 1).toISOString() };
  return (await read(PATHS.telemetry, { ...chosenSeries(), ...range, limit: EVENTS_SHOWN }, signal)).data;
}

/** The anomaly that a click or a link names. @param {AbortSignal} signal */
async function readChosen(signal) {
  const id = selection.anomaly;
  if (!id) answers.chosen = null;
  else if (answers.chosen?.id !== id) answers.chosen = await read(`${PATHS.anomalies}/${encodeURIComponent(id)}`, {}, signal);
}

/** Fills what the selection leaves open: the series of the strongest fresh anomaly, else the first. */
function completeSelection() {
  if (!selection.service) {
    const worst = (answers.recent?.anomalies ?? []).reduce((best, anomaly) => (!best || stronger(anomaly, best) ? anomaly : best), null);
    const first = answers.services[0];
    if (worst) selection = { ...selection, service: worst.service, model: worst.model, metric: eventMetric(worst.metric) };
    else if (first) selection = { ...selection, service: first.service, model: first.models[0] ?? "" };
  }
  if (selection.service && !selection.model) {
    selection = { ...selection, model: answers.services.find((entry) => entry.service === selection.service)?.models[0] ?? "" };
  }
}

/** Takes over a choice, puts it into the address and asks anew. @param {Record<string, string>} changes */
function select(changes) {
  const before = selection;
  selection = { ...selection, ...changes };
  if (before.service !== selection.service || before.model !== selection.model) answers.events = null;
  if (before.anomaly !== selection.anomaly) until = null;
  if (before.kind !== selection.kind) answers.anomalies = null;
  if (before.baselines !== selection.baselines) answers.baselines = null;
  history.replaceState(null, "", writeSelection(selection));
  show();
  poller.refresh();
}

/** @param {any} anomaly */
function choose(anomaly) {
  answers.chosen = anomaly;
  const { service, model, metric } = anomaly;
  select({ service, model, metric: eventMetric(metric), anomaly: anomaly.id });
  byId("details").focus({ preventScroll: true });
  byId("details").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function show() {
  const { errors } = poller;
  const { status, points } = answers;
  const stepS = stepSeconds(minutes());
  showHeader(status, errors.get("status"));
  showNotices(status, errors, answers.answeredAt, () => poller.refresh());
  setText(byId("welcome-command"), welcomeCommand());
  byId("welcome").hidden = !status || status.events_received > 0 || (status.store?.events ?? 0) > 0;
  showTiles({ status, ledger: answers.ledger, points, stepS, recent: answers.recent, stale: errors.has("status") });
  traffic.update(points ?? [], minutes(), stepS);
  seriesPanel.update({ services: answers.services, selection, events: answers.events, anomalies: answers.seriesAnomalies,
    baselines: answers.seriesBaselines, until, chosen: selection.anomaly ? answers.chosen : null });
  showDetails(selection.anomaly ? answers.chosen : null, answers.markers, () => select({ anomaly: "" }));
  anomalySection.update({ anomalies: answers.anomalies, markers: answers.markers, limit: TABLE_LIMIT, seriesNames: seriesNames(), selection,
    hours: hours() });
  baselineTable.update(answers.baselines, selection.baselines, BASELINE_LIMIT);
  showPartitions(answers.ledger, status?.lag ?? {});
  byId("range").value = selection.range;
}

function seriesNames() {
  return answers.services.flatMap(({ service, models }) => models.map((model) => ({
    value: seriesValue(service, model), label: `${shorten(printable(service), 30)} / ${shorten(printable(model), 30)}`,
  })));
}

/** @param {Map<string, Error>} errors */
function roundDone(errors) {
  show();
  if (!errors.has("status")) setText(byId("updated"), `updated ${clock(Date.now())}`);
  setAttributes(document.body, { "data-ready": "true" });
}

function welcomeCommand() {
  return `curl -X POST ${address(PATHS.events)}${keyOption()} \\\n  -H 'content-type: application/json' \\\n  -d '${EXAMPLE_EVENT}'`;
}

const traffic = new Traffic();
const seriesPanel = new SeriesPanel(select, choose);
const anomalySection = new AnomalySection(choose, select);
const baselineTable = new BaselineTable(select, (row) => {
  select({ service: row.service, model: row.model, metric: eventMetric(row.metric), anomaly: "" });
  byId("series-title").scrollIntoView({ block: "start" });
});
const poller = new Poller(tasks, POLL_MS, roundDone);

byId("range").addEventListener("change", (event) => select({ range: event.target.value }));
byId("pause").addEventListener("click", () => {
  poller.pause(!poller.paused);
  setAttributes(byId("pause"), { "aria-pressed": String(poller.paused) });
  setText(byId("pause"), poller.paused ? "Resume updates" : "Pause updates");
});
window.addEventListener("hashchange", () => {
  if (location.hash === "#content") return; // the skip link
  selection = parseSelection(location.hash);
  until = null;
  poller.refresh();
});
window.addEventListener("unhandledrejection", (event) => {
  poller.errors.set("page", event.reason instanceof ApiError ? event.reason : new Error(`the page itself failed: ${event.reason}`));
});
setText(byId("zone"), Intl.DateTimeFormat().resolvedOptions().timeZone);
byId("welcome-copy").append(copyButton("Copy the command", welcomeCommand));
poller.wake();

/** The panel of one series: which one, which metric, its latest events and its baseline. */

import { byId, html, setOptions, setText, svg } from "./dom.js";
import { clock, metricUnit, printable, shorten } from "./format.js";
import { ScatterPlot, severitySign } from "./scatter.js";

export const METRICS = ["latency_ms", "ttft_ms", "time_per_output_token_ms", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd", "error"];
const LABEL_LENGTH = 60;

/**
 * A series as one text, for the value of an option, and back.
 * @param {string} service
 * @param {string} model
 */
export function seriesValue(service, model) {
  return JSON.stringify([service, model]);
}

/** @param {string} value @returns {[string, string]} two empty names for what is no series */
export function parseSeries(value) {
  try {
    const [service, model] = JSON.parse(value);
    return [String(service), String(model)];
  } catch {
    return ["", ""];
  }
}

/**
 * The value of an event in a metric; null where it has none.
 * @param {any} event
 * @param {string} metric
 */
export function metricValue(event, metric) {
  if (metric === "error") return failed(event) ? 1 : 0;
  return Number.isFinite(event[metric]) ? event[metric] : null;
}

/**
 * The metric of events that stands behind one of time windows, such as cost_usd behind cost_usd_per_minute; latency, which shows failures
 * as well, for what has none.
 * @param {string} metric
 */
export function eventMetric(metric) {
  const name = String(metric);
  return METRICS.find((known) => name === known || (known !== "error" && name.startsWith(`${known}_`))) ?? METRICS[0];
}

/** @param {any} event */
function failed(event) {
  return event.error !== null && event.error !== undefined && event.error !== false && event.error !== "";
}

/** @param {string} name @returns {{value: string, label: string}} */
function option(name) {
  return { value: name, label: shorten(printable(name), LABEL_LENGTH) };
}

export class SeriesPanel {
  /**
   * @param {(changes: Record<string, string>) => void} select told what a person has chosen
   * @param {(anomaly: any) => void} choose told which anomaly
   */
  constructor(select, choose) {
    this.plot = new ScatterPlot(choose);
    byId("series-plot").append(this.plot.element);
    byId("series-legend").append(...legend());
    for (const name of ["service", "model", "metric"]) {
      byId(name).addEventListener("change", (event) => select({ [name]: event.target.value, ...(name === "service" ? { model: "" } : {}), anomaly: "" }));
    }
    byId("log").addEventListener("change", (event) => select({ log: event.target.checked ? "1" : "" }));
    byId("series-live").addEventListener("click", () => select({ anomaly: "" }));
  }

  /**
   * @param {{services: any[], selection: any, events: any[]|null, anomalies: any[], baselines: any[], until: number|null, chosen: any}} view
   *     `until`: ms, the end of the events shown when they are not the latest
   */
  update(view) {
    const { services, selection } = view;
    const models = services.find((entry) => entry.service === selection.service)?.models ?? [];
    setOptions(byId("service"), services.map((entry) => option(entry.service)), selection.service);
    setOptions(byId("model"), models.map(option), selection.model);
    setOptions(byId("metric"), METRICS.map((name) => ({ value: name, label: name })), selection.metric);
    byId("log").checked = selection.log === "1";
    byId("log").disabled = selection.metric === "error";
    if (view.events) this.draw(view);
  }

  /** @param {any} view */
  draw({ selection, events, anomalies, baselines, until, chosen }) {
    const { metric } = selection;
    const dots = events
      .map((event) => ({ at: Date.parse(event.timestamp), value: metricValue(event, metric), error: failed(event) && metric !== "error", event }))
      .filter((dot) => dot.value !== null && Number.isFinite(dot.at));
    const first = Math.min(...dots.map((dot) => dot.at));
    const last = until ?? Infinity;
    const known = chosen && !anomalies.some((anomaly) => anomaly.id === chosen.id) ? [...anomalies, chosen] : anomalies;
    const marks = known
      .map((anomaly) => ({ at: Date.parse(anomaly.timestamp), anomaly }))
      .filter((mark) => mark.anomaly.metric === metric && mark.at >= first && mark.at <= last && Number.isFinite(mark.anomaly.value));
    const baseline = baselines.reduce((best, candidate) => (!best || candidate.samples > best.samples ? candidate : best), null);
    this.plot.update({ metric, dots, marks, baseline, log: selection.log === "1" && metric !== "error", chosen: selection.anomaly || null });
    this.explain({ selection, dots, events, baseline, baselines, until });
  }

  /** What is shown, in a line; and what to do when that is nothing. @param {any} view */
  explain({ selection, dots, events, baseline, baselines, until }) {
    const { metric } = selection;
    const parts = [`${dots.length} ${until ? `events up to the chosen anomaly, ${clock(until)}` : "latest events"} in ${metricUnit(metric)}`];
    if (baseline) parts.push(`baseline of ${baseline.samples} samples${baselines.length > 1 ? `, the largest of ${baselines.length} partitions` : ""}`);
    else if (dots.length > 0) parts.push("no baseline yet: too few samples");
    byId("series-note").hidden = dots.length === 0;
    setText(byId("series-note"), parts.join(" · "));
    byId("series-live").hidden = !until;
    byId("series-plot").hidden = dots.length === 0;
    byId("series-empty").hidden = dots.length > 0;
    const reason = !selection.service ? "Choose a service once events have come in."
      : events.length > 0 ? `The latest events of this series have no ${metric}. Choose another metric.`
        : "This series has no events in this time range. Choose a longer range or another series.";
    setText(byId("series-empty"), reason);
  }
}

function legend() {
  const sample = (...children) => svg("svg", { class: "swatch", width: 18, height: 12, "aria-hidden": "true" }, ...children);
  return [
    html("li", {}, sample(svg("path", { class: "events", d: "M9 6h0" })), "event"),
    html("li", {}, sample(svg("path", { class: "events-error", d: "M6 3l6 6m0-6l-6 6" })), "failed"),
    html("li", {}, sample(svg("line", { class: "median", x1: 0, x2: 18, y1: 6, y2: 6 })), "median"),
    html("li", {}, sample(svg("rect", { class: "band", width: 18, height: 12 }), svg("rect", { class: "band-quartiles", width: 18, y: 3, height: 6 })), "band, q1 to q3"),
    ...["critical", "warning", "info"].map((severity) => html("li", {}, severitySign(severity), severity)),
  ];
}

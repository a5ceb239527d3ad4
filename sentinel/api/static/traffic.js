/** Requests, latency, tokens and cost of all series over time. */

import { byId, setText } from "./dom.js";
import { compact, milliseconds, usd } from "./format.js";
import { Cursor, LinePlot } from "./plots.js";

/** What each plot shows; `per` values are given per minute, whatever the step. */
const PLOTS = [
  { title: "Requests", unit: "per minute", format: compact, lines: [
    { name: "requests", style: "line-a", filled: true, value: (point) => point.perMinute(point.requests) },
    { name: "errors", style: "line-error", value: (point) => point.perMinute(point.errors) }] },
  { title: "Latency", unit: "time to the full answer", format: milliseconds, lines: [
    { name: "p50", style: "line-a", value: (point) => point.latency_p50_ms },
    { name: "p95", style: "line-b", value: (point) => point.latency_p95_ms },
    { name: "p99", style: "line-c", value: (point) => point.latency_p99_ms }] },
  { title: "Tokens", unit: "per minute", format: compact, lines: [
    { name: "prompt", style: "line-a", value: (point) => point.perMinute(point.prompt_tokens) },
    { name: "completion", style: "line-b", value: (point) => point.perMinute(point.completion_tokens) }] },
  { title: "Cost", unit: "US$ per minute", format: usd, lines: [
    { name: "cost", style: "line-d", filled: true, value: (point) => point.perMinute(point.cost_usd) }] },
];

const MOST_STEPS = 1500;
const EMPTY = { requests: 0, errors: 0, prompt_tokens: 0, completion_tokens: 0, total_tokens: 0, cost_usd: 0,
  latency_mean_ms: null, latency_p50_ms: null, latency_p95_ms: null, latency_p99_ms: null, ttft_p50_ms: null, ttft_p95_ms: null };

/**
 * One point for every step from the first with events to the present: a step without events is a fact, not a gap.
 * @param {any[]} points as /api/v1/metrics/timeseries gives them
 * @param {number} stepS
 * @param {number} now ms
 * @returns {any[]} with `at` (ms), `open` (the step is still going on) and `perMinute`
 */
export function fillSteps(points, stepS, now) {
  const stepMs = stepS * 1000;
  const known = new Map(points.map((point) => [Math.floor(Date.parse(point.timestamp) / stepMs) * stepMs, point]));
  known.delete(NaN);
  if (known.size === 0) return [];
  const present = Math.max(Math.floor(now / stepMs) * stepMs, ...known.keys());
  const filled = [];
  for (let at = Math.max(Math.min(...known.keys()), present - MOST_STEPS * stepMs); at <= present; at += stepMs) {
    const perMinute = (amount) => (amount === null || amount === undefined ? null : (amount * 60) / stepS);
    filled.push({ ...EMPTY, ...known.get(at), at, open: at + stepMs > now, perMinute });
  }
  return filled;
}

/** The four plots of all traffic. */
export class Traffic {
  constructor() {
    const cursor = new Cursor();
    this.plots = PLOTS.map((settings) => new LinePlot({ ...settings, cursor }));
    byId("traffic").append(...this.plots.map((plot) => plot.element));
  }

  /**
   * @param {any[]} points of `fillSteps`
   * @param {number} minutes how far back to show
   * @param {number} stepS
   */
  update(points, minutes, stepS) {
    const end = Math.max(Date.now(), points.at(-1)?.at ?? 0);
    const start = end - minutes * 60_000;
    const shown = points.filter((point) => point.at >= start);
    for (const plot of this.plots) plot.update(shown, { start, end });
    setText(byId("traffic-step"), stepS === 60 ? "by the minute" : `in steps of ${stepS / 60} minutes`);
  }
}

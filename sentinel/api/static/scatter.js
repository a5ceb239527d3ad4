/** Single events of one series as dots over the band of its baseline, with the anomalies as shapes by severity. */

import { html, reconcile, setAttributes, svg } from "./dom.js";
import { clock, metricFormat, printable, words } from "./format.js";
import { axes, placeReadout } from "./plots.js";
import { linear, logarithmic, time } from "./scales.js";

/**
 * @typedef {{at: number, value: number, error: boolean, event: any}} Dot
 * @typedef {{at: number, anomaly: any}} Mark an anomaly and its time in ms
 */

const HEIGHT = 330;
const MARGIN = { top: 14, right: 16, bottom: 26, left: 62 };
/** From this width on the names of the band stand beside the plot, not in it. */
const WIDE_PX = 600;
const LABELS_PX = 92;
const REACH_PX = 24;
/** Severity is told by shape as well as by colour. */
const SHAPES = { critical: "M0-8L8 0L0 8L-8 0Z", warning: "M0-7.5L7.5 6L-7.5 6Z", info: "M-5.5 0A5.5 5.5 0 1 0 5.5 0A5.5 5.5 0 1 0-5.5 0Z" };

/**
 * The sign of a severity, to stand in text.
 * @param {string} severity
 */
export function severitySign(severity) {
  return svg("svg", { class: "sign", width: 14, height: 14, viewBox: "-9 -9 18 18", "aria-hidden": "true" },
    svg("path", { class: `mark severity-${known(severity)}`, d: SHAPES[known(severity)] }));
}

/** @param {string} severity */
function known(severity) {
  return Object.hasOwn(SHAPES, severity) ? severity : "info";
}

export class ScatterPlot {
  /** @param {(anomaly: any) => void} choose called when a person picks an anomaly */
  constructor(choose) {
    this.choose = choose;
    this.canvas = svg("svg", { class: "plot", height: HEIGHT });
    this.back = svg("g");
    this.marks = svg("g");
    this.front = svg("g", { class: "front" });
    this.canvas.append(this.back, this.marks, this.front);
    this.readout = html("div", { class: "readout", hidden: true });
    this.element = html("div", { class: "plot-frame scatter" }, this.canvas, this.readout);
    new ResizeObserver(() => this.draw()).observe(this.element);
    this.element.addEventListener("pointermove", (event) => this.pointAt(event));
    this.element.addEventListener("pointerleave", () => this.hideReadout());
  }

  /**
   * @param {{metric: string, dots: Dot[], marks: Mark[], baseline: any, log: boolean, chosen: string|null}} view
   */
  update(view) {
    this.view = view;
    this.draw();
  }

  draw() {
    const width = this.element.clientWidth;
    if (!this.view || width < 120) return;
    this.beside = width >= WIDE_PX;
    this.box = { left: MARGIN.left, right: width - (this.beside ? LABELS_PX : MARGIN.right), top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
    this.scale(width);
    setAttributes(this.canvas, { width, viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": this.summary() });
    const format = metricFormat(this.view.metric);
    this.back.replaceChildren(...this.band(), axes(this, format), this.dots(false), this.dots(true));
    this.drawMarks(format);
    this.front.replaceChildren(...this.bandLabels());
  }

  /** @param {number} width */
  scale(width) {
    const { dots, marks, baseline, log } = this.view;
    const times = [...dots, ...marks].map((dot) => dot.at);
    const end = times.length > 0 ? Math.max(...times) : Date.now();
    const start = times.length > 0 ? Math.min(...times) : end - 60_000;
    const span = Math.max(end - start, 2000);
    this.x = time(start - span * 0.01, start + span * 1.01, [this.box.left, this.box.right], Math.max(2, Math.floor(width / 110)));
    const band = baseline ? [baseline.lower, baseline.upper, baseline.median] : [];
    const values = [...dots.map((dot) => dot.value), ...marks.map((mark) => mark.anomaly.value), ...band].filter(Number.isFinite);
    const range = [this.box.bottom, this.box.top];
    const floor = Math.min(...[...dots.map((dot) => dot.value), ...marks.map((mark) => mark.anomaly.value)].filter((value) => value > 0));
    if (log && Number.isFinite(floor)) {
      const low = baseline?.lower > 0 ? Math.min(floor, Math.max(baseline.lower, floor / 5)) : floor;
      this.y = logarithmic(low, Math.max(...values), range);
    } else {
      this.y = linear(Math.min(0, ...values), Math.max(0, ...values), range, 5);
    }
  }

  band() {
    const { baseline } = this.view;
    if (!baseline) return [];
    const stripe = (low, high, name) => {
      const [top, bottom] = [this.place(high), this.place(low)];
      return svg("rect", { class: name, x: this.box.left, width: this.box.right - this.box.left, y: top, height: Math.max(0, bottom - top) });
    };
    const drawn = [];
    if (Number.isFinite(baseline.lower) && Number.isFinite(baseline.upper)) drawn.push(stripe(baseline.lower, baseline.upper, "band"));
    if (Number.isFinite(baseline.q1) && Number.isFinite(baseline.q3)) drawn.push(stripe(baseline.q1, baseline.q3, "band-quartiles"));
    if (Number.isFinite(baseline.median)) {
      const y = this.place(baseline.median);
      drawn.push(svg("line", { class: "median", x1: this.box.left, x2: this.box.right, y1: y, y2: y }));
    }
    return drawn;
  }

  bandLabels() {
    const { baseline, metric } = this.view;
    if (!baseline) return [];
    const format = metricFormat(metric);
    const labels = [];
    let last = -Infinity;
    for (const [name, value] of [["upper", baseline.upper], ["median", baseline.median], ["lower", baseline.lower]]) {
      if (!Number.isFinite(value) || (name === "lower" && value <= this.y.low)) continue;
      const y = Math.max(this.box.top + 10, this.place(value) + (this.beside ? 4 : -4));
      if (y - last < 13) continue;
      last = y;
      labels.push(svg("text", { class: `band-label${this.beside ? " beside" : ""}`, x: this.box.right + (this.beside ? 6 : -4), y }, `${name} ${format(value)}`));
    }
    return labels;
  }

  /** All dots of a kind as one path of round points: a thousand circles would cost a thousand elements. @param {boolean} error */
  dots(error) {
    const shown = this.view.dots.filter((dot) => dot.error === error);
    const cross = "m-3-3l6 6m0-6l-6 6";
    const d = shown.map((dot) => `M${this.x.at(dot.at).toFixed(1)} ${this.place(dot.value).toFixed(1)}${error ? cross : "h0"}`).join("");
    return svg("path", { class: error ? "events-error" : "events", d });
  }

  /** @param {(value: number) => string} format */
  drawMarks(format) {
    const above = (mark) => (mark.anomaly.id === this.view.chosen ? Infinity : Object.keys(SHAPES).indexOf(known(mark.anomaly.severity)) * -1);
    const shown = this.view.marks.filter((mark) => mark.at >= this.x.low && mark.at <= this.x.high).sort((one, other) => above(one) - above(other));
    reconcile(this.marks, shown, {
      key: (mark) => mark.anomaly.id,
      make: (mark) => this.makeMark(mark),
      update: (element, mark) => {
        const { anomaly } = mark;
        const chosen = anomaly.id === this.view.chosen;
        setAttributes(element, {
          transform: `translate(${this.x.at(mark.at).toFixed(1)} ${this.place(anomaly.value).toFixed(1)})`,
          class: `mark severity-${known(anomaly.severity)}${chosen ? " chosen" : ""}`,
          "aria-pressed": String(chosen),
          "aria-label": `${printable(anomaly.severity)} ${words(anomaly.type)}, ${format(anomaly.value)}, ${clock(mark.at)}`,
        });
      },
    });
  }

  /** @param {Mark} mark */
  makeMark({ anomaly }) {
    const path = svg("path", { d: SHAPES[known(anomaly.severity)], tabindex: 0, role: "button" });
    path.addEventListener("click", () => this.choose(anomaly));
    path.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      this.choose(anomaly);
    });
    return path;
  }

  /** Values outside the axis stand at its edge. @param {number} value */
  place(value) {
    return Math.min(this.box.bottom, Math.max(this.box.top, this.y.at(value)));
  }

  summary() {
    const { metric, dots, marks, baseline } = this.view;
    const format = metricFormat(metric);
    const usual = baseline ? `; the median is ${format(baseline.median)}, the band ${format(baseline.lower)} to ${format(baseline.upper)}` : "; no baseline yet";
    return `${words(metric)} of ${dots.length} events, ${marks.length} anomalies${usual}`;
  }

  /** @param {PointerEvent} event */
  pointAt(event) {
    if (!this.box) return;
    const frame = this.element.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    let [best, distance] = [null, REACH_PX];
    const candidates = [...this.view.marks.map((mark) => ({ at: mark.at, value: mark.anomaly.value, mark })), ...this.view.dots];
    for (const dot of candidates) {
      const away = Math.hypot(this.x.at(dot.at) - x, this.place(dot.value) - y) - (dot.mark ? 4 : 0);
      if (away < distance) [best, distance] = [dot, away];
    }
    if (best) this.showReadout(best);
    else this.hideReadout();
  }

  /** @param {any} dot */
  showReadout(dot) {
    const format = metricFormat(this.view.metric);
    const lines = dot.mark
      ? [`${printable(dot.mark.anomaly.severity)}: ${words(dot.mark.anomaly.type)}`, `found by ${printable(dot.mark.anomaly.detector)}; click for details`]
      : dot.error ? ["the request failed"] : [];
    this.readout.replaceChildren(html("div", {}, clock(dot.at)), html("b", {}, format(dot.value)), ...lines.map((line) => html("div", {}, line)));
    this.readout.hidden = false;
    placeReadout(this.readout, this.element, this.x.at(dot.at), this.place(dot.value));
  }

  hideReadout() {
    this.readout.hidden = true;
  }
}

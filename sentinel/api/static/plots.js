/** Lines over time as SVG: axes, units, a cursor shared by all plots, values under pointer or arrow keys. */

import { html, setAttributes, setText, svg } from "./dom.js";
import { clock } from "./format.js";
import { linear, nearest, time, timeLabel } from "./scales.js";

/**
 * @typedef {object} Line
 * @property {string} name for the legend
 * @property {string} style class that gives colour and dashes: one of the `line-*` of the style sheet
 * @property {(point: any) => number|null} value
 * @property {boolean} [filled] the area below is tinted
 */

const HEIGHT = 190;
const MARGIN = { top: 12, right: 14, bottom: 24, left: 58 };

/** The time that all plots point at. */
export class Cursor {
  constructor() {
    /** @type {number|null} */
    this.time = null;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** @param {number|null} ms */
  moveTo(ms) {
    this.time = ms;
    this.listeners.forEach((listener) => listener());
  }
}

export class LinePlot {
  /**
   * @param {{title: string, unit: string, lines: Line[], format: (value: number|null) => string, cursor: Cursor}} settings
   */
  constructor({ title, unit, lines, format, cursor }) {
    Object.assign(this, { title, unit, lines, format, cursor });
    this.times = [];
    this.points = [];
    this.canvas = svg("svg", { class: "plot", height: HEIGHT, "aria-hidden": "true" });
    this.readout = html("div", { class: "readout", hidden: true });
    this.frame = html("div", { class: "plot-frame", tabindex: 0, role: "img" }, this.canvas, this.readout);
    this.latest = lines.map(() => html("b"));
    const legend = html("ul", { class: "legend" }, ...lines.map((line, index) => html("li", {}, swatch(line), `${line.name} `, this.latest[index])));
    this.element = html("figure", { class: "card" },
      html("figcaption", {}, html("h3", {}, title), html("span", { class: "unit" }, unit), legend), this.frame);
    this.listen();
  }

  listen() {
    new ResizeObserver(() => this.draw()).observe(this.frame);
    this.cursor.listeners.add(() => this.point());
    this.frame.addEventListener("pointermove", (event) => this.pointAt(event.clientX));
    this.frame.addEventListener("pointerleave", () => this.cursor.moveTo(null));
    this.frame.addEventListener("blur", () => this.cursor.moveTo(null));
    this.frame.addEventListener("keydown", (event) => this.step(event));
  }

  /**
   * @param {any[]} points ascending, one a step, each with `at` (ms) and `open`: whether its step is still going on
   * @param {{start: number, end: number}} range ms
   */
  update(points, range) {
    this.points = points;
    this.times = points.map((point) => point.at);
    this.range = range;
    this.draw();
  }

  draw() {
    const width = this.frame.clientWidth;
    if (!this.range || width < 120) return;
    const values = this.points.flatMap((point) => this.lines.map((line) => line.value(point))).filter((value) => value !== null);
    const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
    this.x = time(this.range.start, this.range.end, [box.left, box.right], Math.max(2, Math.floor(width / 90)));
    this.y = linear(0, Math.max(0, ...values), [box.bottom, box.top], 4);
    this.box = box;
    this.marks = svg("g");
    setAttributes(this.canvas, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    this.canvas.replaceChildren(axes(this, values.length > 0 ? this.format : null), ...this.lines.flatMap((line) => this.drawLine(line)), this.marks);
    if (values.length === 0) this.canvas.append(svg("text", { class: "plot-empty", x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 }, "No values in this time range"));
    this.describe();
    this.point();
  }

  /** @param {Line} line */
  drawLine(line) {
    const runs = unbroken(this.points, line.value);
    const place = (point) => `${this.x.at(point.at).toFixed(1)} ${this.y.at(line.value(point)).toFixed(1)}`;
    const path = (points) => `M${points.map(place).join("L")}`;
    const drawn = [];
    for (const run of runs) {
      const closed = run.filter((point) => !point.open);
      if (line.filled && run.length > 1) {
        const base = this.y.at(0);
        drawn.push(svg("path", { class: `area ${line.style}`, d: `${path(run)}L${this.x.at(run.at(-1).at)} ${base}L${this.x.at(run[0].at)} ${base}Z` }));
      }
      if (closed.length > 1) drawn.push(svg("path", { class: `line ${line.style}`, d: path(closed) }));
      if (run.length > 1 && run.at(-1).open) drawn.push(svg("path", { class: `line open ${line.style}`, d: path(run.slice(-2)) }));
      if (run.length === 1) drawn.push(this.dot(line, run[0]));
    }
    return drawn;
  }

  /** The summary that a screen reader gives, and the latest values in the legend. */
  describe() {
    const last = this.points.findLast((point) => !point.open) ?? this.points.at(-1);
    const parts = this.lines.map((line, index) => {
      const text = last ? this.format(line.value(last)) : this.format(null);
      setText(this.latest[index], text);
      return `${line.name} ${text}`;
    });
    setAttributes(this.frame, { "aria-label": `${this.title}, ${this.unit}. Latest: ${parts.join(", ")}. Left and right arrow keys read single values.` });
  }

  /** @param {number} clientX */
  pointAt(clientX) {
    if (!this.x || this.times.length === 0) return;
    this.readout.removeAttribute("role");
    const share = (clientX - this.frame.getBoundingClientRect().left - this.box.left) / (this.box.right - this.box.left);
    this.cursor.moveTo(this.x.low + share * (this.x.high - this.x.low));
  }

  /** @param {KeyboardEvent} event */
  step(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this.cursor.moveTo(null);
    if (!(event.key in moves) || this.times.length === 0) return;
    event.preventDefault();
    const from = this.cursor.time === null ? this.times.length : nearest(this.times, this.cursor.time);
    const to = Math.min(this.times.length - 1, Math.max(0, from + moves[event.key]));
    this.cursor.moveTo(this.times[to]);
    this.readout.setAttribute("role", "status");
  }

  /** Shows the values at the cursor. */
  point() {
    const index = this.cursor.time === null || !this.x ? -1 : nearest(this.times, this.cursor.time);
    this.readout.hidden = index < 0;
    this.marks?.replaceChildren();
    if (index < 0) return;
    const point = this.points[index];
    const x = this.x.at(point.at);
    this.marks.append(svg("line", { class: "crosshair", x1: x, x2: x, y1: this.box.top, y2: this.box.bottom }));
    const rows = this.lines.map((line) => {
      if (line.value(point) !== null) this.marks.append(this.dot(line, point));
      return html("li", {}, swatch(line), `${line.name} `, html("b", {}, this.format(line.value(point))));
    });
    this.readout.replaceChildren(html("div", {}, `${clock(point.at)}${point.open ? " (so far)" : ""}`), html("ul", {}, ...rows));
    placeReadout(this.readout, this.frame, x, this.box.top);
  }

  /**
   * @param {Line} line
   * @param {any} point
   */
  dot(line, point) {
    return svg("circle", { class: `dot ${line.style}`, cx: this.x.at(point.at), cy: this.y.at(line.value(point)), r: 3.5 });
  }
}

/** @param {Line} line */
function swatch(line) {
  return svg("svg", { class: "swatch", width: 18, height: 10, "aria-hidden": "true" }, svg("line", { class: `line ${line.style}`, x1: 0, x2: 18, y1: 5, y2: 5 }));
}

/**
 * The stretches in which no value is missing.
 * @param {any[]} points
 * @param {(point: any) => number|null} value
 * @returns {any[][]}
 */
export function unbroken(points, value) {
  const runs = [];
  let run = [];
  for (const point of points) {
    if (value(point) !== null) run.push(point);
    else if (run.length > 0) {
      runs.push(run);
      run = [];
    }
  }
  return run.length > 0 ? [...runs, run] : runs;
}

/**
 * Grid, labels and base line.
 * @param {{x: import("./scales.js").Scale, y: import("./scales.js").Scale, box: {left: number, right: number, top: number, bottom: number}}} plot
 * @param {((value: number) => string)|null} format of the vertical labels; null leaves them out, where there are no values
 */
export function axes({ x, y, box }, format) {
  const group = svg("g", { class: "axes" });
  for (const tick of format ? y.ticks : []) {
    const at = Math.round(y.at(tick)) + 0.5;
    group.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }));
    group.append(svg("text", { class: "label-y", x: box.left - 8, y: at }, format(tick)));
  }
  for (const tick of x.ticks) {
    const at = Math.round(x.at(tick)) + 0.5;
    group.append(svg("line", { class: "tick", x1: at, x2: at, y1: box.bottom, y2: box.bottom + 4 }));
    if (at > box.left + 8 && at < box.right - 8) group.append(svg("text", { class: "label-x", x: at, y: box.bottom + 16 }, timeLabel(tick, x.high - x.low)));
  }
  group.append(svg("line", { class: "base", x1: box.left, x2: box.right, y1: box.bottom + 0.5, y2: box.bottom + 0.5 }));
  return group;
}

/**
 * Puts a box of values beside a place, on the side that has room.
 * @param {HTMLElement} readout
 * @param {HTMLElement} frame
 * @param {number} x
 * @param {number} y
 */
export function placeReadout(readout, frame, x, y) {
  const width = readout.offsetWidth;
  const left = x + 12 + width < frame.clientWidth ? x + 12 : Math.max(0, x - 12 - width);
  readout.style.left = `${left}px`;
  readout.style.top = `${Math.min(y, frame.clientHeight - readout.offsetHeight)}px`;
}

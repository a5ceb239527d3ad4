/** Where values stand on an axis, and which of them get a label. Pure. */

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} at the place of a value, in pixels
 * @property {number[]} ticks the labelled values
 * @property {number} low
 * @property {number} high
 */

const MINUTE_MS = 60_000;
const TIME_STEPS_MS = [1, 2, 5, 10, 15, 30].map((s) => s * 1000)
  .concat([1, 2, 5, 10, 15, 30].map((m) => m * MINUTE_MS))
  .concat([1, 2, 3, 6, 12, 24].map((h) => h * 60 * MINUTE_MS));

/**
 * The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `span / count`.
 * @param {number} span
 * @param {number} count
 */
function niceStep(span, count) {
  const rough = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((candidate) => candidate * power >= rough * 0.999) ?? 10;
  return factor * power;
}

/**
 * A linear scale whose ends are widened to labelled values.
 * @param {number} low
 * @param {number} high
 * @param {[number, number]} range pixels of low and high
 * @param {number} [count] wished number of labels
 * @returns {Scale}
 */
export function linear(low, high, range, count = 4) {
  const span = high > low ? high - low : Math.abs(high) || 1;
  const step = niceStep(span, count);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil((high > low ? high : low + span) / step - 1e-9));
  const ticks = [];
  for (let index = first; index <= last; index += 1) ticks.push(Number((index * step).toPrecision(12)));
  return { ticks, low: first * step, high: last * step, at: between(first * step, last * step, range) };
}

/**
 * A logarithmic scale; values at or below zero stand at its low end.
 * @param {number} low above zero
 * @param {number} high
 * @param {[number, number]} range
 * @returns {Scale}
 */
export function logarithmic(low, high, range) {
  const bottom = low * 0.9;
  const top = Math.max(high, low * 1.5) * 1.1;
  const place = between(Math.log(bottom), Math.log(top), range);
  const wanted = Math.log10(top / bottom) > 3 ? [1] : Math.log10(top / bottom) > 1.3 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
  const ticks = [];
  for (let power = Math.floor(Math.log10(bottom)); power <= Math.ceil(Math.log10(top)); power += 1) {
    for (const factor of wanted) {
      const value = Number((factor * 10 ** power).toPrecision(6));
      if (value >= bottom && value <= top) ticks.push(value);
    }
  }
  return { ticks, low: bottom, high: top, at: (value) => place(Math.log(Math.max(value, bottom))) };
}

/**
 * A time scale in milliseconds since the epoch, labelled at round local times.
 * @param {number} start
 * @param {number} end
 * @param {[number, number]} range
 * @param {number} [count]
 * @returns {Scale}
 */
export function time(start, end, range, count = 6) {
  const span = Math.max(1, end - start);
  const step = TIME_STEPS_MS.find((candidate) => span / candidate <= count) ?? Math.ceil(span / count / TIME_STEPS_MS.at(-1)) * TIME_STEPS_MS.at(-1);
  const offset = new Date(start).getTimezoneOffset() * MINUTE_MS;
  const ticks = [];
  for (let tick = Math.ceil((start - offset) / step) * step + offset; tick <= end; tick += step) ticks.push(tick);
  return { ticks, low: start, high: end, at: between(start, start + span, range) };
}

/**
 * A time label no finer than it must be.
 * @param {number} ms
 * @param {number} span of the whole axis
 */
export function timeLabel(ms, span) {
  const text = new Date(ms).toLocaleTimeString("en-GB");
  return span < 5 * MINUTE_MS ? text : text.slice(0, 5);
}

/**
 * @param {number} low
 * @param {number} high
 * @param {[number, number]} range
 */
function between(low, high, [from, to]) {
  const factor = high === low ? 0 : (to - from) / (high - low);
  return (/** @type {number} */ value) => from + (value - low) * factor;
}

/**
 * The index of the value nearest to `wanted` in ascending `values`, -1 if there are none.
 * @param {number[]} values
 * @param {number} wanted
 */
export function nearest(values, wanted) {
  let low = 0;
  let high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] < wanted) low = middle;
    else high = middle;
  }
  if (high < 0) return -1;
  return Math.abs(values[low] - wanted) <= Math.abs(values[high] - wanted) ? low : high;
}

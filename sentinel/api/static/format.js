/** Numbers, times and names as people read them. Pure: no page, no clock but what is handed in. */

const NONE = "–";

/** @param {unknown} value */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/**
 * A number with at most `digits` significant digits below 1,000 and thousands separators above.
 * @param {number|null|undefined} value
 * @param {number} [digits]
 */
export function number(value, digits = 3) {
  if (!isNumber(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 1000 || Number.isInteger(value)) return Math.round(value).toLocaleString("en-US");
  if (size > 0 && size < 1e-4) return value.toExponential(1);
  return String(Number(value.toPrecision(digits)));
}

/**
 * A count short enough for a tile or an axis: 1,234, 45.6k, 7.89M.
 * @param {number|null|undefined} value
 */
export function compact(value) {
  if (!isNumber(value)) return NONE;
  const size = Math.abs(value);
  for (const [limit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= limit) return Number((value / (letter === "k" ? 1e3 : limit)).toPrecision(3)) + letter;
  }
  return number(value);
}

/** @param {number|null|undefined} value milliseconds */
export function milliseconds(value) {
  if (!isNumber(value)) return NONE;
  if (Math.abs(value) >= 120_000) return `${number(value / 60_000)} min`;
  return Math.abs(value) >= 1000 ? `${number(value / 1000)} s` : `${number(value)} ms`;
}

/** @param {number|null|undefined} value US dollars */
export function usd(value) {
  if (!isNumber(value)) return NONE;
  const size = Math.abs(value);
  const sign = value < 0 ? "-" : "";
  if (size === 0) return "$0";
  if (size >= 1000) return `${sign}$${compact(Math.round(size))}`;
  if (size >= 1) return `${sign}$${size.toFixed(2)}`;
  if (size < 1e-5) return `${sign}$${size.toExponential(1)}`;
  const text = String(Number(size.toPrecision(3)));
  return `${sign}$${text.length < 4 ? size.toFixed(2) : text}`;
}

/** @param {number|null|undefined} value bytes, shown in binary units */
export function bytes(value) {
  if (!isNumber(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value > 0 ? Math.min(units.length - 1, Math.floor(Math.log(value) / Math.log(1024))) : 0;
  return `${number(value / 1024 ** power)} ${units[power]}`;
}

/** @param {number|null|undefined} share 0 to 1 */
export function percent(share) {
  if (!isNumber(share)) return NONE;
  const hundredths = share * 100;
  return `${hundredths !== 0 && Math.abs(hundredths) < 0.1 ? hundredths.toPrecision(1) : Number(hundredths.toFixed(1))}%`;
}

/** @param {number|null|undefined} seconds */
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/**
 * Local time of day with seconds.
 * @param {number} ms since the epoch
 */
export function clock(ms) {
  return Number.isFinite(ms) ? new Date(ms).toLocaleTimeString("en-GB") : NONE;
}

/**
 * Local date and time; `iso` gives the same instant in UTC.
 * @param {number} ms
 */
export function dateTime(ms) {
  if (!Number.isFinite(ms)) return NONE;
  return `${new Date(ms).toLocaleDateString("en-CA")} ${clock(ms)}`;
}

/** @param {number} ms */
export function iso(ms) {
  return Number.isFinite(ms) ? new Date(ms).toISOString() : NONE;
}

/**
 * How a metric's values are written, by the unit in its name.
 * @param {string} metric
 * @returns {(value: number|null|undefined) => string}
 */
export function metricFormat(metric) {
  if (metric.endsWith("_per_minute")) {
    const format = metricFormat(metric.slice(0, -"_per_minute".length));
    return (value) => (isNumber(value) ? `${format(value)}/min` : NONE);
  }
  if (/_(?:rate|share)$/.test(metric)) return percent;
  if (metric.endsWith("_ms")) return milliseconds;
  return metric.endsWith("_usd") ? usd : number;
}

/** @param {string} metric */
export function metricUnit(metric) {
  if (metric.endsWith("_ms")) return "ms";
  if (metric.endsWith("_usd")) return "US$";
  return metric.endsWith("_tokens") ? "tokens" : "0 or 1";
}

/**
 * A name in words: latency_spike becomes "Latency spike".
 * @param {unknown} name
 */
export function words(name) {
  const text = printable(name).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * Text from outside with what cannot be seen made visible: control characters, zero-width ones and those that turn the
 * writing direction, with which a name could pose as another.
 * @param {unknown} text
 */
export function printable(text) {
  if (text === null || text === undefined) return NONE;
  return String(text).replace(
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * Text cut to `length` characters, with an ellipsis in the middle: the ends of generated names tell them apart.
 * @param {string} text
 * @param {number} length
 */
export function shorten(text, length) {
  if (text.length <= length) return text;
  const half = Math.floor((length - 1) / 2);
  return `${text.slice(0, length - 1 - half)}…${text.slice(text.length - half)}`;
}

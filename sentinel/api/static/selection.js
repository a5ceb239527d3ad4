/** What a person looks at: kept in the address, so that a link shows a colleague the same. */

const CHOICES = { service: "", model: "", metric: "latency_ms", range: "60", log: "1", anomaly: "", severity: "", detector: "", series: "",
  kind: "window", baselines: "window" };
const KINDS = new Set(["window", "event"]);
const RANGES = new Set(["15", "60", "360", "1440"]);
const LONGEST = 300;

/** @typedef {typeof CHOICES} Selection */

/**
 * The selection that an address names; what it does not name has its default.
 * @param {string} hash
 * @returns {Selection}
 */
export function parseSelection(hash) {
  const named = new URLSearchParams(hash.replace(/^#/, ""));
  const selection = { ...CHOICES };
  for (const name of Object.keys(CHOICES)) {
    const value = named.get(name);
    if (value !== null && value.length <= LONGEST) selection[name] = value;
  }
  if (!RANGES.has(selection.range)) selection.range = CHOICES.range;
  for (const name of ["kind", "baselines"]) if (!KINDS.has(selection[name])) selection[name] = CHOICES[name];
  if (!/^[\w.:-]{0,128}$/.test(selection.anomaly) || /^\.+$/.test(selection.anomaly)) selection.anomaly = "";
  return selection;
}

/**
 * The address that names a selection; defaults are left out.
 * @param {Selection} selection
 */
export function writeSelection(selection) {
  const named = Object.entries(selection).filter(([name, value]) => name in CHOICES && value !== CHOICES[name]);
  return `#${new URLSearchParams(named)}`;
}

/**
 * How wide a step of the plots is, in seconds, for a range in minutes.
 * @param {number} minutes
 */
export function stepSeconds(minutes) {
  if (minutes <= 60) return 60;
  return minutes <= 360 ? 300 : 900;
}

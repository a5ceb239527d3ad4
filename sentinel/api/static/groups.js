/** Puts the anomalies of one series within one minute together, so that a bad minute is one row and not fifty. Pure. */

const MINUTE_MS = 60_000;
const RANK = { critical: 2, warning: 1, info: 0 };

/**
 * @typedef {object} AnomalyGroup
 * @property {string} key the same while the minute and the series are
 * @property {any} strongest the member of the highest severity, then score
 * @property {any[]} members newest first
 * @property {number} at ms, of the newest member
 * @property {string[]} types without repeats, and so `detectors`
 * @property {string[]} detectors
 */

/**
 * @param {any[]} anomalies in any order
 * @returns {AnomalyGroup[]} newest first
 */
export function groupAnomalies(anomalies) {
  /** @type {Map<string, any[]>} */
  const groups = new Map();
  for (const anomaly of anomalies) {
    const minute = Math.floor(Date.parse(anomaly.timestamp) / MINUTE_MS);
    const key = JSON.stringify([anomaly.service, anomaly.model, minute]);
    const members = groups.get(key);
    if (members) members.push(anomaly);
    else groups.set(key, [anomaly]);
  }
  return [...groups].map(([key, members]) => summarize(key, members)).sort((one, other) => other.at - one.at);
}

/**
 * @param {string} key
 * @param {any[]} members
 * @returns {AnomalyGroup}
 */
function summarize(key, members) {
  members.sort((one, other) => Date.parse(other.timestamp) - Date.parse(one.timestamp));
  const strongest = members.reduce((best, anomaly) => (stronger(anomaly, best) ? anomaly : best));
  return {
    key,
    members,
    strongest,
    at: Date.parse(members[0].timestamp),
    types: [...new Set(members.map((anomaly) => anomaly.type))],
    detectors: [...new Set(members.map((anomaly) => anomaly.detector))],
  };
}

/** @param {any} anomaly @param {any} other */
export function stronger(anomaly, other) {
  const difference = (RANK[anomaly.severity] ?? 0) - (RANK[other.severity] ?? 0);
  return difference > 0 || (difference === 0 && anomaly.score > other.score);
}

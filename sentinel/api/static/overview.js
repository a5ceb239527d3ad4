/** The section of anomalies: those of time windows first, those of single events behind a toggle, with the filters of both. */

import { AnomalyTable, SEVERITIES } from "./anomalies.js";
import { byId, setOptions, setText, toggle } from "./dom.js";
import { printable, shorten } from "./format.js";
import { WindowList } from "./windows.js";

const DETECTORS = {
  window: ["level", "rate", "silence", "drift", "usage", "multivariate", "threshold"],
  event: ["zscore", "iqr", "mad", "cusum", "threshold"],
};
const LABEL_LENGTH = 40;
const KINDS = ["window", "event"];

export class AnomalySection {
  /**
   * @param {(anomaly: any) => void} choose told which anomaly a person wants to look at
   * @param {(changes: Record<string, string>) => void} select told which ones a person wants to see
   */
  constructor(choose, select) {
    this.table = new AnomalyTable(choose);
    this.windows = new WindowList(choose);
    this.showKind = toggle(KINDS, "kind", (kind) => select({ kind, detector: "" }));
    for (const name of ["severity", "detector", "series"]) {
      byId(`anomaly-${name}`).addEventListener("change", (event) => select({ [name]: event.target.value }));
    }
  }

  /**
   * @param {{anomalies: any[]|null, markers: Map<string, any>, limit: number, seriesNames: {value: string, label: string}[], selection: any,
   *     hours: number}} view `anomalies` of the kind that is selected, null before they came
   */
  update({ anomalies, markers, limit, seriesNames, selection, hours }) {
    const { kind } = selection;
    this.showKind(kind);
    const known = (anomalies ?? []).map((anomaly) => String(anomaly.detector));
    setOptions(byId("anomaly-severity"), choices(SEVERITIES), selection.severity);
    setOptions(byId("anomaly-detector"), choices([...new Set([...DETECTORS[kind], ...known])]), selection.detector);
    setOptions(byId("anomaly-series"), [{ value: "", label: "all" }, ...seriesNames], selection.series);
    if (!anomalies) return;
    if (kind === "event") this.table.update(anomalies, selection.anomaly);
    else this.windows.update(anomalies, markers, selection.anomaly);
    byId("windows").hidden = kind !== "window" || anomalies.length === 0;
    byId("events-card").hidden = kind !== "event" || anomalies.length === 0;
    byId("anomalies-empty").hidden = anomalies.length > 0;
    setText(byId("anomalies-empty"), emptiness(selection, hours));
    setText(byId("anomalies-note"), anomalies.length >= limit ? `The newest ${limit} anomalies; older ones are left out. Filter to see further back.` : "");
  }
}

/** Why there is nothing to see. @param {any} selection @param {number} hours */
function emptiness(selection, hours) {
  if (selection.severity || selection.detector || selection.series) return "No anomaly fits these filters. Set them to “all” to see the rest.";
  const range = `in the last ${hours === 1 ? "hour" : `${hours} hours`}`;
  if (selection.kind === "event") return `No single event stood out ${range}.`;
  return `Nothing stood out over time ${range}. Single events that are far out are facts of their own: see “Single events”.`;
}

/** @param {string[]} names */
function choices(names) {
  return [{ value: "", label: "all" }, ...names.map((name) => ({ value: name, label: shorten(printable(name), LABEL_LENGTH) }))];
}

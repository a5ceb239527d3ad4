/** Anomalies of time windows, what people should see first. A card says what came, since when, and who had a part in it. */

import { severityBadge } from "./anomalies.js";
import { giveVerdict } from "./api.js";
import { byId, copyButton, html, reconcile, setAttributes, setText } from "./dom.js";
import { clock, dateTime, duration, iso, metricFormat, number, percent, printable, shorten, words } from "./format.js";

const NAME_LENGTH = 44;
const TRACE_LENGTH = 13;
const MOST_TRACES = 2;
const DAY_MS = 86_400_000;
const VERDICTS = [["true_positive", "Worth telling"], ["false_positive", "False alarm"]];

export class WindowList {
  /** @param {(anomaly: any) => void} choose told which one a person wants to see the events of */
  constructor(choose) {
    this.choose = choose;
    this.list = byId("windows");
    /** @type {Map<string, string>} what a person said about an anomaly on this page */
    this.verdicts = new Map();
  }

  /**
   * @param {any[]} anomalies
   * @param {Map<string, any>} markers by id
   * @param {string} chosen id
   */
  update(anomalies, markers, chosen) {
    reconcile(this.list, anomalies, {
      key: (anomaly) => JSON.stringify([anomaly.id, (anomaly.markers ?? []).filter((id) => markers.has(id))]),
      make: (anomaly) => this.card(anomaly, markers),
      update: (element, anomaly) => {
        setText(element.ago, age(anomaly));
        setAttributes(element, { class: `card window ${severity(anomaly)}${anomaly.id === chosen ? " chosen" : ""}` });
      },
    });
  }

  /** @param {any} anomaly @param {Map<string, any>} markers */
  card(anomaly, markers) {
    const ago = html("span", { class: "ago" });
    const chips = html("div", { class: "chips" }, ...contributorChips(anomaly), ...markerChips(anomaly, markers));
    const lead = html("p", { class: "lead" }, printable(anomaly.explanation));
    const element = html("li", {}, this.head(anomaly, ago), lead, chips.childNodes.length > 0 ? chips : null, this.foot(anomaly));
    element.ago = ago;
    return element;
  }

  /** @param {any} anomaly @param {Node} ago */
  head(anomaly, ago) {
    const names = `${printable(anomaly.service)} / ${printable(anomaly.model)}`;
    const what = html("button", { type: "button", class: "link", title: "Show the events of this series at that time" }, words(anomaly.type));
    what.addEventListener("click", () => this.choose(anomaly));
    return html("div", { class: "window-head" },
      severityBadge(anomaly.severity),
      html("h3", {}, what),
      html("span", { class: "series-name", title: names }, `${shorten(printable(anomaly.service), NAME_LENGTH)} / ${shorten(printable(anomaly.model), NAME_LENGTH)}`),
      html("span", { class: "since", title: `since ${iso(Date.parse(anomaly.since))}, told at ${iso(Date.parse(anomaly.timestamp))}` }, since(anomaly), ago));
  }

  /** The numbers in a line, traces to look at, and what people think of it. @param {any} anomaly */
  foot(anomaly) {
    const format = metricFormat(String(anomaly.metric));
    const numbers = [`${printable(anomaly.metric)} ${format(anomaly.value)}`];
    if (Number.isFinite(anomaly.expected)) numbers.push(`expected ${format(anomaly.expected)}`);
    numbers.push(`score ${number(anomaly.score)}×`, `${percent(anomaly.confidence)} sure`, printable(anomaly.detector));
    return html("div", { class: "window-foot" }, html("span", { class: "hint" }, numbers.join(" · ")), traces(anomaly), this.verdict(anomaly));
  }

  /** @param {any} anomaly */
  verdict(anomaly) {
    const said = html("span", { class: "hint", role: "status" }, this.verdicts.get(anomaly.id) ?? "");
    const buttons = VERDICTS.map(([verdict, title]) => {
      const button = html("button", { type: "button", class: "quiet" }, title);
      button.addEventListener("click", async () => {
        try {
          await giveVerdict(anomaly.id, verdict);
          this.verdicts.set(anomaly.id, `Noted: ${title.toLowerCase()}.`);
        } catch (error) {
          this.verdicts.set(anomaly.id, printable(error.reason ?? error.message));
        }
        setText(said, this.verdicts.get(anomaly.id));
      });
      return button;
    });
    return html("span", { class: "verdict" }, said, ...buttons);
  }
}

/** When it began, as a time of day. @param {any} anomaly */
function since(anomaly) {
  const at = Date.parse(anomaly.since ?? anomaly.timestamp);
  return `since ${Date.now() - at > DAY_MS / 2 ? dateTime(at) : clock(at)}`;
}

/** How long ago it was told. @param {any} anomaly */
function age(anomaly) {
  const seconds = (Date.now() - Date.parse(anomaly.timestamp)) / 1000;
  return Number.isFinite(seconds) ? ` · told ${seconds < 60 ? "just now" : `${duration(seconds < 3600 ? Math.floor(seconds / 60) * 60 : seconds).replace(" 0 s", "")} ago`}` : "";
}

/** Who had the largest part in it: the part, and what is usual. @param {any} anomaly */
export function contributorChips(anomaly) {
  return (anomaly.contributors ?? []).map((one) => {
    const usual = Number.isFinite(one.usual) ? `, usually ${percent(one.usual)}` : "";
    return html("span", { class: "chip" }, `${words(one.dimension)} `, html("b", {}, shorten(printable(one.value), NAME_LENGTH)), ` ${percent(one.share)}${usual}`);
  });
}

/** What was changed on purpose. @param {any} anomaly @param {Map<string, any>} markers */
export function markerChips(anomaly, markers) {
  return (anomaly.markers ?? []).map((id) => {
    const marker = markers.get(id);
    const text = marker ? `${words(marker.kind)}: ${printable(marker.text || marker.service || "no text")}, ${clock(Date.parse(marker.timestamp))}` : `Marker ${printable(id)}`;
    return html("span", { class: "chip marker", title: printable(id) }, text);
  });
}

/** Requests to look at, by the ids of their traces; null when there are none. @param {any} anomaly */
export function traces(anomaly) {
  const ids = (anomaly.exemplars ?? []).slice(0, MOST_TRACES);
  if (ids.length === 0) return null;
  const shown = ids.map((id) => html("span", {},
    html("code", { title: printable(id) }, shorten(printable(id), TRACE_LENGTH)), copyButton(`Copy the trace id ${printable(id)}`, () => String(id))));
  return html("div", { class: "traces" }, "Traces", ...shown);
}

/** @param {any} anomaly */
function severity(anomaly) {
  return ["critical", "warning"].includes(anomaly.severity) ? anomaly.severity : "info";
}

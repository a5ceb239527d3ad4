/** The state of the daemon in one line: is it well, which version, how long, how fresh is what it knows. */

import { byId, html, reconcile, setAttributes, setText } from "./dom.js";
import { clock, duration, iso, printable } from "./format.js";
import { needsKey, useKey } from "./api.js";

const OLD_WATERMARK_S = 300;

/**
 * @param {any} status the answer of /api/v1/status, or null
 * @param {Error|undefined} error why the last question was not answered
 */
export function showHeader(status, error) {
  const state = error ? "unknown" : status?.health?.status === "healthy" ? "healthy" : "degraded";
  const text = { unknown: needsKey(error) ? "Key needed" : "No answer", healthy: "Healthy", degraded: "Degraded" }[state];
  setAttributes(byId("state"), { class: `state ${state}` });
  setText(byId("state-sign"), { unknown: "?", healthy: "✓", degraded: "!" }[state]);
  setText(byId("state-text"), status || error ? text : "Connecting…");
  document.title = state === "healthy" ? "LLM-Sentinel" : `(${text}) LLM-Sentinel`;
  if (!status) return;
  setText(byId("version"), `v${printable(status.version)}`);
  setText(byId("mode"), printable(status.mode));
  setText(byId("uptime"), duration(status.uptime_s));
  showWatermark(status.watermark);
}

/** @param {string|null} watermark */
function showWatermark(watermark) {
  const element = byId("watermark");
  const at = Date.parse(watermark ?? "");
  const age = (Date.now() - at) / 1000;
  setText(element, Number.isFinite(at) ? (age >= 0 ? `${duration(age)} ago` : "now") : "none yet");
  setAttributes(element, { title: Number.isFinite(at) ? iso(at) : null, class: age > OLD_WATERMARK_S ? "old" : null });
}

/**
 * What needs attention: reasons of a degraded state, back-pressure, questions without answer.
 * @param {any} status
 * @param {Map<string, Error>} errors by question
 * @param {number|null} answeredAt when the status last came, ms
 * @param {() => void} retry
 */
export function showNotices(status, errors, answeredAt, retry) {
  const notices = [];
  if (status && !errors.has("status") && status.health?.status !== "healthy") {
    const reasons = status.health?.reasons ?? [];
    notices.push({ kind: "degraded", key: "health", title: "Degraded", lines: reasons.length > 0 ? reasons.map(printable) : ["The daemon gave no reason."] });
  }
  if (status?.paused && !errors.has("status")) {
    notices.push({ kind: "degraded", key: "paused", title: "Reading is paused", lines: ["A queue is full, so the source waits until what was read is stored. Nothing is lost."] });
  }
  if (errors.size > 0) notices.push(errorNotice(errors, answeredAt));
  reconcile(byId("notices"), notices, {
    key: (notice) => notice.key,
    make: (notice) => makeNotice(notice, retry),
    update: updateNotice,
  });
}

/**
 * @param {Map<string, any>} errors
 * @param {number|null} answeredAt
 */
function errorNotice(errors, answeredAt) {
  const refused = [...errors.values()].some(needsKey);
  const lines = [...new Set([...errors.values()].map((error) => printable(needsKey(error) ? error.reason : error.message)))];
  if (lines.length > 3) lines.splice(3, lines.length, `and ${lines.length - 3} more`);
  if (errors.has("status") && answeredAt) lines.push(`What is shown is of ${clock(answeredAt)}.`);
  return { kind: "error", key: refused ? "refused" : "errors", title: refused ? "An API key is needed" : "Some figures could not be read", lines, refused };
}

/**
 * @param {{kind: string, title: string, refused?: boolean}} notice
 * @param {() => void} retry
 */
function makeNotice(notice, retry) {
  const element = html("div", { class: `notice ${notice.kind}` }, html("strong", {}, notice.title), html("ul"));
  if (notice.refused) element.append(keyEntry(retry));
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {{lines: string[]}} notice
 */
function updateNotice(element, notice) {
  const list = element.querySelector("ul");
  reconcile(list, notice.lines, { key: (line) => line, make: (line) => html("li", {}, line) });
}

/**
 * Asks for an API key; it is kept until the tab closes, and sent as a header only.
 * @param {() => void} retry
 */
export function keyEntry(retry) {
  const input = html("input", { type: "password", autocomplete: "off", placeholder: "sntl_…", "aria-label": "API key with the role viewer" });
  const button = html("button", { type: "button" }, "Use this key until the tab closes");
  const use = () => {
    useKey(input.value.replace(/[^\x21-\x7e]/g, "")); // a paste may bring blanks and signs that nobody sees
    input.value = "";
    retry();
  };
  button.addEventListener("click", use);
  input.addEventListener("keydown", (event) => event.key === "Enter" && use());
  return html("div", { class: "key-entry" }, input, button);
}

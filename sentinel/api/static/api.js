/** Asks the daemon. Every path is listed here, and each is one that /api/v1/openapi.json documents. */

export const PATHS = Object.freeze({
  status: "/api/v1/status",
  ledger: "/api/v1/ledger",
  timeseries: "/api/v1/metrics/timeseries",
  baselines: "/api/v1/baselines",
  anomalies: "/api/v1/anomalies",
  markers: "/api/v1/markers",
  telemetry: "/api/v1/telemetry",
  services: "/api/v1/services",
  events: "/api/v1/events",
  openapi: "/api/v1/openapi.json",
});

/** What a person may send to try it. */
export const EXAMPLE_EVENT = '{"service_name": "checkout", "model_name": "gpt-4o", "latency_ms": 840, "prompt_tokens": 300, "completion_tokens": 120}';

/** Where the daemon's paths begin: also right behind a proxy that puts a prefix before them. */
const ROOT = new URL("..", import.meta.url);
const TIMEOUT_MS = 10_000;
const KEY_NAME = "sentinel.api-key";

/** Why a question got no answer, in words for people. */
export class ApiError extends Error {
  /**
   * @param {string} path
   * @param {string} reason
   * @param {{status?: number, retryAfterS?: number}} [more] status 0: no answer at all
   */
  constructor(path, reason, { status = 0, retryAfterS = 0 } = {}) {
    super(`${path}: ${reason}`);
    this.name = "ApiError";
    this.path = path;
    this.reason = reason;
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * The address of a path, with its parameters; empty ones are left out.
 * @param {string} path
 * @param {Record<string, string|number|null|undefined>} [parameters]
 */
export function address(path, parameters = {}) {
  const url = new URL(path.slice(1), ROOT);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url;
}

/** Keeps an API key until the tab is closed. @param {string} key */
export function useKey(key) {
  if (key) sessionStorage.setItem(KEY_NAME, key);
  else sessionStorage.removeItem(KEY_NAME);
}

/** What a command line needs besides, when this page needs a key: the key itself is never shown. */
export function keyOption() {
  return sessionStorage.getItem(KEY_NAME) ? ' -H "x-api-key: $SENTINEL_API_KEY"' : "";
}

/** Whether an error says that a key is missing, opens nothing, or is for something else. @param {any} error */
export function needsKey(error) {
  return error?.status === 401 || error?.status === 403;
}

/**
 * The JSON answer of a GET.
 * @param {string} path
 * @param {Record<string, string|number|null|undefined>} [parameters]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export function read(path, parameters = {}, signal = undefined) {
  return ask(path, address(path, parameters), {}, signal);
}

/**
 * The JSON answer of a POST.
 * @param {string} path
 * @param {object} question
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export function query(path, question, signal = undefined) {
  const request = { method: "POST", body: JSON.stringify(question), headers: { "content-type": "application/json" } };
  return ask(path, address(path), request, signal);
}

/**
 * Tells what a person thinks of an anomaly.
 * @param {string} id
 * @param {"true_positive"|"false_positive"} verdict
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export function giveVerdict(id, verdict) {
  return query(`${PATHS.anomalies}/${encodeURIComponent(id)}/feedback`, { verdict });
}

/**
 * @param {string} path
 * @param {URL} url
 * @param {RequestInit} request
 * @param {AbortSignal|undefined} signal
 */
async function ask(path, url, request, signal) {
  const key = sessionStorage.getItem(KEY_NAME);
  const headers = { accept: "application/json", ...request.headers, ...(key ? { "x-api-key": key } : {}) };
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])];
  let response;
  try {
    response = await fetch(url, { ...request, headers, signal: AbortSignal.any(signals), cache: "no-store", credentials: "same-origin" });
    if (response.ok) return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(path, failureReason(error), { status: response?.status ?? 0 });
  }
  throw new ApiError(path, await problem(response), { status: response.status, retryAfterS: Number(response.headers.get("retry-after")) || 0 });
}

/** @param {unknown} error */
function failureReason(error) {
  if (error instanceof SyntaxError) return "the answer is not JSON";
  if (error instanceof DOMException && error.name === "TimeoutError") return `no answer within ${TIMEOUT_MS / 1000} s`;
  return "the daemon does not answer; is it running?";
}

/**
 * What a problem+json body says, else the status line.
 * @param {Response} response
 */
async function problem(response) {
  const line = `${response.status} ${response.statusText}`.trim();
  try {
    const body = await response.json();
    return [line, body.detail ?? body.title].filter(Boolean).join(": ");
  } catch {
    return line;
  }
}

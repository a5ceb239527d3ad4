/** The API reference: /api/v1/openapi.json as a person reads it. */

import { address, EXAMPLE_EVENT, keyOption, needsKey, PATHS, read } from "./api.js";
import { byId, copyButton, html, setAttributes, setText } from "./dom.js";
import { printable, words } from "./format.js";
import { keyEntry } from "./header.js";

const VERBS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 12;

/** @typedef {{verb: string, path: string, tag: string, about: any}} Operation */

/**
 * The operations of a document, in its order.
 * @param {any} document
 * @returns {Operation[]}
 */
export function operationsOf(document) {
  return Object.entries(document.paths ?? {}).flatMap(([path, verbs]) => VERBS
    .filter((verb) => verbs[verb])
    .map((verb) => ({ verb, path, tag: verbs[verb].tags?.[0] ?? "other", about: verbs[verb] })));
}

/**
 * A schema with its references followed: `#/components/...` and `#/$defs/...` of the schema itself.
 * @param {any} schema
 * @param {any} document
 * @param {any} [root] the schema that `$defs` are looked up in
 * @param {number} [depth]
 * @returns {any}
 */
export function resolve(schema, document, root = schema, depth = 0) {
  if (schema === null || typeof schema !== "object" || depth > DEEPEST) return schema;
  if (Array.isArray(schema)) return schema.map((part) => resolve(part, document, root, depth + 1));
  if (typeof schema.$ref === "string") {
    const target = follow(schema.$ref, root) ?? follow(schema.$ref, document);
    return target ? resolve(target, document, root, depth + 1) : schema;
  }
  const parts = Object.entries(schema).filter(([name]) => name !== "$defs");
  return Object.fromEntries(parts.map(([name, part]) => [name, resolve(part, document, root, depth + 1)]));
}

/** @param {string} reference @param {any} root */
function follow(reference, root) {
  return reference.replace(/^#\//, "").split("/").reduce((part, name) => part?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], root);
}

/**
 * A type in a few words: "integer, 1 to 1000, default 100".
 * @param {any} schema
 */
export function typeWords(schema) {
  if (!schema || typeof schema !== "object") return "any";
  const options = schema.anyOf ?? schema.oneOf;
  const parts = [options ? options.map((option) => option.type ?? "object").join(" or ") : [schema.type ?? "any"].flat().join(" or ")];
  if (schema.format) parts.push(schema.format);
  if (schema.enum) parts.push(`one of ${schema.enum.join(", ")}`);
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (low !== undefined && high !== undefined) parts.push(`${schema.minimum === undefined ? "above " : ""}${low} to ${high}`);
  else if (low !== undefined) parts.push(schema.minimum === undefined ? `above ${low}` : `at least ${low}`);
  else if (high !== undefined) parts.push(`at most ${high}`);
  if (schema.multipleOf) parts.push(`a multiple of ${schema.multipleOf}`);
  if (schema.maxLength) parts.push(`at most ${schema.maxLength} characters`);
  if (schema.default !== undefined && schema.default !== null) parts.push(`default ${schema.default}`);
  return printable(parts.join(", "));
}

/** @param {Operation} operation @param {any} document */
function showOperation({ verb, path, about }, document) {
  const text = [about.summary, about.description].filter(Boolean).map(printable);
  const body = Object.values(about.requestBody?.content ?? {})[0]?.schema;
  const element = html("details", { class: `card operation${about.deprecated ? " deprecated" : ""}` },
    html("summary", {}, html("span", { class: `verb ${verb}` }, verb.toUpperCase()), html("code", {}, printable(path)), html("span", { class: "hint" }, text[0] ?? "")),
    html("div", { class: "body" },
      ...text.slice(1).map((paragraph) => html("p", { class: "prose" }, paragraph)),
      fieldTable("Parameters", (about.parameters ?? []).map((parameter) => ({ ...resolve(parameter, document), place: parameter.in }))),
      ...(body ? bodyOf(resolve(body, document), about.requestBody) : []),
      answers(about.responses ?? {}, document),
      example(verb, path)));
  element.dataset.words = `${verb} ${path} ${text.join(" ")}`.toLowerCase();
  return element;
}

/**
 * @param {string} title
 * @param {any[]} fields with name, place, description, schema and required
 */
function fieldTable(title, fields) {
  if (fields.length === 0) return null;
  const rows = fields.map(({ name, place, required, description, schema }) => html("tr", {},
    html("th", { scope: "row" }, html("code", {}, printable(name))),
    html("td", {}, [place, required ? "required" : ""].filter(Boolean).join(", ")),
    html("td", {}, typeWords(schema)),
    html("td", {}, printable(description ?? ""))));
  const heads = ["Name", "Where", "Type", "Meaning"].map((name) => html("th", { scope: "col" }, name));
  const table = html("table", {}, html("thead", {}, html("tr", {}, ...heads)), html("tbody", {}, ...rows));
  return html("div", {}, html("h4", {}, title), html("div", { class: "table-scroll", tabindex: 0, role: "region", "aria-label": title }, table));
}

/** @param {any} schema @param {any} requestBody */
function bodyOf(schema, requestBody) {
  const kinds = Object.keys(requestBody.content ?? {}).map(printable).join(", ");
  const fields = Object.entries(schema.properties ?? {}).map(([name, field]) => ({
    name, place: "body", schema: field, description: field.description, required: (schema.required ?? []).includes(name),
  }));
  const title = `Body: ${kinds}`;
  if (fields.length > 0) return [fieldTable(title, fields)];
  const described = schema.description ? html("p", { class: "prose" }, printable(schema.description)) : html("pre", { tabindex: 0 }, JSON.stringify(schema, null, 2));
  return [html("div", {}, html("h4", {}, title), described)];
}

/** @param {Record<string, any>} responses @param {any} document */
function answers(responses, document) {
  const rows = Object.entries(responses).map(([status, answer]) => {
    const content = Object.entries(resolve(answer, document).content ?? {});
    return html("tr", {}, html("th", { scope: "row" }, printable(status)), html("td", {}, printable(answer.description ?? "")),
      html("td", {}, content.map(([kind]) => printable(kind)).join(", ")));
  });
  return html("div", {}, html("h4", {}, "Answers"), html("table", {}, html("tbody", {}, ...rows)));
}

/** @param {string} verb @param {string} path */
function example(verb, path) {
  const url = decodeURI(address(path).href);
  const command = verb === "get" ? `curl '${url}'${keyOption()}` : `curl -X ${verb.toUpperCase()} '${url}'${keyOption()} -H 'content-type: application/json' -d '${path === PATHS.events ? EXAMPLE_EVENT : "{}"}'`;
  return html("div", {}, html("h4", {}, "Try it ", copyButton("Copy the command", () => command)), html("pre", { tabindex: 0 }, command));
}

/** @param {any} document */
function show(document) {
  setText(byId("version"), `v${printable(document.info?.version)}`);
  setText(byId("about"), document.info?.description ?? "");
  const operations = operationsOf(document);
  for (const tag of new Set(operations.map((operation) => operation.tag))) {
    const shown = operations.filter((operation) => operation.tag === tag).map((operation) => showOperation(operation, document));
    byId("operations").append(html("section", {}, html("h2", {}, words(tag)), ...shown));
  }
}

function search() {
  const wanted = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let any = false;
  for (const section of byId("operations").children) {
    const operations = [...section.querySelectorAll(".operation")];
    for (const operation of operations) operation.hidden = !wanted.every((word) => operation.dataset.words.includes(word));
    section.hidden = operations.every((operation) => operation.hidden);
    any ||= !section.hidden;
  }
  byId("nothing").hidden = any;
}

/** @param {any} error */
function failure(error) {
  const title = needsKey(error) ? "An API key is needed" : "The description of the API could not be read";
  const entry = needsKey(error) ? keyEntry(start) : null;
  return html("div", { class: "notice error" }, html("strong", {}, title), html("p", {}, printable(error.message)), entry);
}

async function start() {
  try {
    show(await read(PATHS.openapi));
    byId("search").addEventListener("input", search);
    byId("notices").replaceChildren();
  } catch (error) {
    byId("notices").replaceChildren(failure(error));
  }
  setAttributes(document.body, { "data-ready": "true" });
}

await start();

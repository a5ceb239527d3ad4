/**
 * The only place that makes page elements. Every text ends in a text node, never in markup: names and texts come from
 * telemetry and are hostile.
 */

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/**
 * Attributes that could carry code or styles, or load something.
 * @param {string} name
 */
function assertPlainAttribute(name) {
  if (/^(on|style$|src|href$|xlink|formaction$)/i.test(name)) throw new TypeError(`attribute ${name} may not be set from code`);
}

/**
 * @param {Element} element
 * @param {Record<string, string|number|boolean|null|undefined>} attributes null, undefined and false remove an attribute
 */
export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    assertPlainAttribute(name);
    if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
  }
}

/**
 * An HTML element with attributes and children; a string child becomes a text node.
 * @param {string} tag
 * @param {Record<string, string|number|boolean|null|undefined>} [attributes]
 * @param {...(Node|string|number|null|undefined)} children null and undefined are left out
 * @returns {HTMLElement}
 */
export function html(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined).map(asNode));
  return element;
}

/**
 * An SVG element, like `html`.
 * @param {string} tag
 * @param {Record<string, string|number|boolean|null|undefined>} [attributes]
 * @param {...(Node|string|number|null|undefined)} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG_NAMESPACE, tag);
  setAttributes(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined).map(asNode));
  return element;
}

/** @param {Node|string|number} child */
function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/**
 * Sets the text only when it differs, so that a selection or a screen reader is not disturbed by an update.
 * @param {Element} element
 * @param {string|number} text
 */
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = String(text);
}

/**
 * The element of the page with this id.
 * @param {string} id
 * @returns {HTMLElement}
 * @throws {Error} when the page has none: the page and its scripts are of different versions.
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element #${id}; reload it`);
  return element;
}

/**
 * Makes the children of `parent` match `rows` and keeps the element of a key that stays: focus, selection and scroll survive.
 * @template T
 * @param {Element} parent
 * @param {T[]} rows
 * @param {{key: (row: T) => string, make: (row: T) => Element, update?: (element: any, row: T) => void}} how
 */
export function reconcile(parent, rows, { key, make, update }) {
  /** @type {Map<string, Element>} */
  const present = parent.reconciledChildren ?? new Map();
  const next = new Map();
  rows.forEach((row) => {
    const name = key(row);
    if (next.has(name)) return;
    const element = present.get(name) ?? make(row);
    update?.(element, row);
    next.set(name, element);
  });
  for (const [name, element] of present) if (!next.has(name)) element.remove();
  let place = parent.firstElementChild;
  for (const element of next.values()) {
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  parent.reconciledChildren = next;
}

/**
 * Replaces the options of a select and keeps the chosen one.
 * @param {HTMLSelectElement} select
 * @param {{value: string, label: string}[]} options
 * @param {string} chosen an unknown value is added, so that a link to a series without events still shows its name
 */
export function setOptions(select, options, chosen) {
  const all = options.some((option) => option.value === chosen) ? options : [...options, { value: chosen, label: chosen || "none" }];
  reconcile(select, all, {
    key: (option) => option.value,
    make: (option) => html("option", { value: option.value }),
    update: (element, option) => setText(element, option.label),
  });
  if (select.value !== chosen) select.value = chosen;
}

/**
 * A small button that copies `text()` and says so.
 * @param {string} label the accessible name
 * @param {() => string} text
 */
export function copyButton(label, text) {
  const button = html("button", { type: "button", class: "quiet", "aria-label": label, title: label }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      setText(button, "Copied");
    } catch {
      setText(button, "Select and copy by hand");
    }
    setTimeout(() => setText(button, "Copy"), 2000);
  });
  return button;
}

/**
 * Makes buttons of which one is pressed.
 * @param {string[]} names the buttons have the ids `prefix-name`
 * @param {string} prefix
 * @param {(name: string) => void} choose
 * @returns {(name: string) => void} shows which one is pressed
 */
export function toggle(names, prefix, choose) {
  const buttons = names.map((name) => byId(`${prefix}-${name}`));
  buttons.forEach((button, index) => button.addEventListener("click", () => choose(names[index])));
  return (chosen) => buttons.forEach((button, index) => setAttributes(button, { "aria-pressed": String(names[index] === chosen) }));
}

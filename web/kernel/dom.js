// Builds DOM. All text becomes text nodes, so nothing in a resource can become
// markup.

import { address } from "./room.js";

/**
 * h("button.primary", {type: "button", on: {click: f}}, "Save") makes an element.
 * The first argument is a tag with classes. Of the properties, `on` adds
 * listeners and `data` sets data attributes; the others become attributes. true
 * sets an empty attribute, false sets none. An href that is a path is a path in
 * the room. Children are nodes, texts, arrays of them, or null.
 */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  if (props) set(element, props);
  element.append(...flat(children));
  return element;
}

/** svg is h for SVG elements. */
export function svg(tag, props, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, props ?? {});
  element.append(...flat(children));
  return element;
}

function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "data") {
      for (const [key, v] of Object.entries(value)) if (v !== null && v !== undefined) element.dataset[key] = v;
    } else if (name === "value" && "value" in element) {
      element.value = value;
    } else if (name === "href") {
      element.setAttribute(name, value.startsWith("/") ? address(value) : value);
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** fill replaces the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

/** field returns a labelled control with a place for an error text. */
export function field(label, control, hint) {
  const id = control.id || (control.id = `f${++fields}`);
  const error = h("p.error", { id: `${id}-error`, hidden: true });
  const parts = [h("label", { for: id }, label), control];
  let described = error.id;
  if (hint) {
    parts.push(h("p.hint", { id: `${id}-hint` }, hint));
    described = `${id}-hint ${described}`;
  }
  control.setAttribute("aria-describedby", described);
  const box = h("div.field", null, parts, error);
  /** refuse shows what is wrong with the control. Without a text it clears the error. */
  box.refuse = (text) => {
    error.hidden = !text;
    error.textContent = text ?? "";
    control.toggleAttribute("aria-invalid", Boolean(text));
    if (text) control.setAttribute("aria-invalid", "true");
  };
  box.control = control;
  return box;
}
let fields = 0;

/** copyButton returns a button that copies the text that text() returns. */
export function copyButton(label, text) {
  const button = h("button.small", { type: "button" }, label);
  button.addEventListener("click", async () => {
    const value = await text();
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      // Without a secure origin there is no clipboard API; execCommand still works.
      const area = h("textarea", { readonly: true, "aria-hidden": "true", class: "offscreen" });
      area.value = value;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1200);
  });
  return button;
}

// Builds elements. Text only ever enters as text nodes: nothing here, or above it, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [type, run] of Object.entries(value)) node.addEventListener(type, run);
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (name === "value" || name === "checked" || name === "selected") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export const link = (href, text, props) => h("a", { href, ...props }, text);

export function choice(label, options, value, change, props) {
  const select = h(
    "select",
    { on: { change: () => change(select.value) } },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)),
  );
  return h("label", { class: "choice", ...props }, h("span", null, label), select);
}

export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== undefined && value !== null && value !== "")
      .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

export function simpleTable(caption, head, rows, props) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      { class: "plain", ...props },
      h("caption", { class: "hidden" }, caption),
      h("thead", null, h("tr", null, head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", null, rows.map((row) => h("tr", null, row.map((cell, i) => h(i ? "td" : "th", i ? null : { scope: "row" }, cell))))),
    ),
  );
}

export function copyButton(label, text) {
  const button = h("button", { type: "button", on: { click: copy } }, label);
  async function copy() {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
    } catch {
      window.prompt("Copy this text:", typeof text === "function" ? text() : text);
    }
    setTimeout(() => (button.textContent = label), 1500);
  }
  return button;
}

export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const anchor = h("a", { href: url, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// One bubble for all hints: shown beside what the pointer or the keyboard is on.
export function installHints(root) {
  const bubble = h("div", { class: "hint", role: "tooltip", id: "hint", hidden: true });
  root.append(bubble);
  let described = null;
  const hide = () => {
    bubble.hidden = true;
    described?.removeAttribute("aria-describedby");
    described = null;
  };
  const show = (event) => {
    const target = event.target instanceof Element ? event.target.closest("[data-hint]") : null;
    hide();
    if (!target) return;
    bubble.hidden = false;
    if (event.type === "focusin") (described = target).setAttribute("aria-describedby", "hint");
    bubble.textContent = target.dataset.hint;
    const box = target.getBoundingClientRect();
    const left = Math.max(8, Math.min(box.left, window.innerWidth - bubble.offsetWidth - 8));
    const below = box.bottom + 6 + bubble.offsetHeight < window.innerHeight;
    bubble.style.left = `${left}px`;
    bubble.style.top = `${below ? box.bottom + 6 : box.top - bubble.offsetHeight - 6}px`;
  };
  for (const type of ["pointerover", "focusin"]) root.addEventListener(type, show);
  for (const type of ["pointerleave", "focusout"]) root.addEventListener(type, hide);
  window.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}

// The sample grid of a record with its classes beside the rows, in its own size so that nothing moves or blurs.

import { gridUrl } from "./data.js";
import { h, link } from "./dom.js";
import { format } from "./state.js";

// The layout that a run writes: ten images of each of the first ten classes, small ones enlarged to about 40 pixels.
const SIDE = 10;
const GAP = 2;
const ENLARGED = 40;

export function sampleGrid(id, name, shape, classes, { linked = false } = {}) {
  const [, height, width] = shape || [1, 28, 28];
  const scale = Math.max(1, Math.floor(ENLARGED / height));
  const rows = Math.min(SIDE, classes?.length || SIDE);
  const picture = h("img", { src: gridUrl(id), alt: `Ten synthetic images of each class by ${name}, one class per row`, class: "grid", width: SIDE * (width * scale + GAP), height: rows * (height * scale + GAP), loading: "lazy" });
  const names = classes && h("ol", { "aria-label": "Class of each row" }, classes.slice(0, SIDE).map((text) => h("li", null, text)));
  return h("div", { class: "sheet" }, names, linked ? link(format("record", id), picture) : picture);
}

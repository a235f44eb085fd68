// Accuracy class by class, as bars: what one mean hides.

import { number } from "./data.js";
import { h } from "./dom.js";

const NAME = /^accuracy-class-(\d+)$/;
const MOST = 20;

export const isOfClass = (score) => NAME.test(score.metric);

// The weakest classes where there are too many for a list.
export function classBars(scores, classes) {
  const found = scores.filter((score) => isOfClass(score) && score.value !== null).map((score) => [Number(NAME.exec(score.metric)[1]), score.value]);
  if (!found.length) return null;
  const shown = found.length > MOST ? found.sort((a, b) => a[1] - b[1]).slice(0, MOST) : found;
  const name = (label) => classes[label] ?? `class ${label}`;
  return h(
    "figure",
    null,
    h("figcaption", { id: "by-class" }, `Accuracy by class in %, mean over classifiers at the last epoch${shown.length < found.length ? `; the ${MOST} lowest of ${found.length}` : ""}.`),
    h("ul", { class: "bars", "aria-labelledby": "by-class" }, shown.map(([label, value]) => h("li", null, h("span", null, name(label)), h("span", { class: "bar", style: { "--share": `${value}%` }, "aria-hidden": "true" }), h("span", null, number(value, 1))))),
  );
}

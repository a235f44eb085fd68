// What a reviewer found, in human words; the recomputed scores have a table of their own.

import { number, roundUp } from "./data.js";
import { h, simpleTable } from "./dom.js";

const many = (count) => Number(count).toLocaleString("en");
const percent = (share) => `${number(100 * share, 1)} %`;
const list = (value) => (Array.isArray(value) ? value : []);
const shown = (value) => (value === null || value === undefined ? "none" : number(value, 4));

function checkTable(caption, checks) {
  const state = (holds) => (holds === true ? "holds" : holds === false ? "fails" : "not decided");
  return simpleTable(caption, ["Check", "Result", "Detail"], checks.map((one) => [one.name, state(one.holds), one.detail]));
}

function diversity({ unique_images: images, unique_share: unique, copies, neighbours_in_train: near, p_value: p }) {
  const sides = Object.entries(copies || {});
  const copied = sides.filter(([, count]) => count > 0);
  return [
    unique === 1 ? `All ${many(images)} synthetic images differ from one another.` : `${many(images)} synthetic images are distinct, ${percent(unique)} of all.`,
    copied.length ? `Repeats of real images, exact or near: ${copied.map(([side, count]) => `${many(count)} of the ${side} side`).join(", ")}.` : `No real image is repeated, exactly or nearly (${sides.map(([side]) => side).join(", ")} sides searched).`,
    `${percent(near)} of the nearest real neighbours are training images; 50 % is chance (p = ${number(p, 2)}).`,
  ];
}

export function reviewPanel(review, level, levels) {
  const checks = list(review.checks);
  const open = checks.filter((one) => one.holds !== true);
  const differences = list(review.differences);
  const apart = differences.filter((one) => !one.agrees);
  const verdict = review.accepted ? `Accepted at trust level ${level}, ${levels[level]}` : "Refused";
  const said = [
    `${verdict}, on ${String(review.reviewed || "").slice(0, 10)} by ${review.reviewer}.`,
    review.spent_epsilon !== undefined && review.spent_epsilon !== null && `The ledger spends ε = ${roundUp(review.spent_epsilon)}${review.second_opinion === null || review.second_opinion === undefined ? "" : `; the second accountant says ${roundUp(review.second_opinion)}`}.`,
    differences.length && (apart.length ? `${apart.length} of ${differences.length} submitted scores differ from the recomputed ones.` : `All ${differences.length} submitted scores agree with the recomputed ones.`),
    ...(review.diversity ? diversity(review.diversity) : []),
    review.attempts && `${many(review.attempts)} ${review.attempts === 1 ? "attempt" : "attempts"} counted for this method, dataset and ε.`,
  ].filter(Boolean);
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Review"),
    h("ul", { class: "said" }, said.map((text) => h("li", null, text))),
    apart.length > 0 && simpleTable("Scores that differ", ["Metric", "Protocol", "Classifier", "Submitted", "Recomputed"], apart.map((one) => [one.metric, one.protocol || "", one.classifier || "", shown(one.submitted), shown(one.recomputed)])),
    open.length > 0 && checkTable("Checks that do not hold", open),
    checks.length > 0 && h("details", null, h("summary", null, open.length ? `All ${checks.length} checks` : `${checks.length} checks, all hold`), checkTable("Checks", checks)),
  );
}

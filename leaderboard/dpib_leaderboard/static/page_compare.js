// Two methods side by side, cell by cell, with their sample grids.

import { COLUMNS, arrow } from "./columns.js";
import { standingWords } from "./data.js";
import { choice, h, link, simpleTable } from "./dom.js";
import { defaults } from "./page_table.js";
import { sampleGrid } from "./samples.js";
import { format } from "./state.js";

const compared = () => COLUMNS.filter((column) => ["Utility", "Fidelity", "Cost", "Privacy"].includes(column.group) && column.number);

function verdict(a, b) {
  if (!a || !b) return "Only one of the two has a result here.";
  const apart = [a, b].find((row) => !row.ranked);
  if (apart) return `No verdict: ${apart.label} is not ranked (${apart.kind === "paper" ? "a number from the paper" : apart.why}).`;
  if (a.rank_worst < b.rank_best) return `${a.label} is better beyond seeds and test set.`;
  if (b.rank_worst < a.rank_best) return `${b.label} is better beyond seeds and test set.`;
  return "Rank intervals overlap: seeds and test set do not settle which is better.";
}

function samples(row, board) {
  if (!row) return h("p", { class: "nothing" }, "No result, no samples.");
  if (!row.records?.length) return h("p", { class: "nothing" }, "The paper's images are not here.");
  const card = board.card("datasets", row.dataset);
  return h("figure", null, h("figcaption", null, link(format("record", row.records[0]), `${row.label}, first seed`)), sampleGrid(row.records[0], `${row.label} at ε = ${row.epsilon}`, card?.shape, card?.classes, { linked: true }));
}

export function comparePage(board, context) {
  const { tracks, datasets, state } = defaults(board, context.state);
  if (state.dataset === "all") [state.dataset] = datasets;
  const rows = board.inTrack(state.track).filter((row) => row.dataset === state.dataset && row.level !== 0);
  const key = (row) => `${row.kind === "paper" ? "paper" : "run"}:${row.label}`;
  const names = [...new Map(rows.map((row) => [key(row), row.kind === "paper" ? `${row.label} (paper)` : row.label]))];
  const known = (value, fallback) => (names.some(([name]) => name === value) ? value : names[Math.min(fallback, names.length - 1)]?.[0]);
  Object.assign(state, { a: known(state.a, 0), b: known(state.b, 1) });
  const go = (patch) => context.go(format("compare", "", { track: state.track, dataset: state.dataset, a: state.a, b: state.b, ...patch }), true);
  const titled = (kind, list) => list.map((name) => [name, board.title(kind, name)]);
  const title = (wanted) => names.find(([name]) => name === wanted)?.[1] || "";
  const epsilons = [...new Set(rows.map((row) => row.epsilon))].sort((x, y) => x - y);
  const cells = epsilons.map((epsilon) => {
    const [a, b] = [state.a, state.b].map((name) => rows.find((row) => row.epsilon === epsilon && key(row) === name));
    if (!a && !b) return null;
    const shown = compared().filter((column) => [a, b].some((row) => row && column.text(row) !== ""));
    const table = shown.map((column) => [column.label + arrow(column), a ? column.text(a) || "·" : "·", b ? column.text(b) || "·" : "·"]);
    return h(
      "section",
      { class: "card" },
      h("h2", null, `ε = ${epsilon}`),
      h("p", null, verdict(a, b)),
      simpleTable(`Comparison at ε = ${epsilon}`, ["Measure", title(state.a), title(state.b)], [["Rank", a ? standingWords(a) : "·", b ? standingWords(b) : "·"], ...table]),
      h("div", { class: "two" }, samples(a, board), samples(b, board)),
    );
  });
  const classes = board.card("datasets", state.dataset)?.classes.length || 0;
  return h(
    "section",
    null,
    h("h1", null, "Compare two methods"),
    h("p", { class: "lead" }, "Same dataset, same budget, side by side. Sample grids have one class per row, in the same order", classes > 10 ? `; the first ten of ${classes} classes are shown.` : ".", " A dot means no value."),
    h(
      "div",
      { class: "bar" },
      choice("Track", titled("tracks", tracks), state.track, (track) => go({ track, dataset: "", a: "", b: "" }), { "data-control": "track" }),
      choice("Dataset", titled("datasets", datasets), state.dataset, (dataset) => go({ dataset }), { "data-control": "dataset" }),
      choice("First", names, state.a, (a) => go({ a }), { "data-control": "a" }),
      choice("Second", names, state.b, (b) => go({ b }), { "data-control": "b" }),
    ),
    cells,
  );
}

// The landing view: what this is, the curves of one dataset, the ranks of one cell, the order over a track.

import { byKey } from "./columns.js";
import { number, score, standingWords } from "./data.js";
import { choice, h, link, simpleTable } from "./dom.js";
import { defaults } from "./page_table.js";
import { curves, scatter } from "./plots.js";
import { format } from "./state.js";

const SHOWN = 10;
const HEADLINE = "accuracy[noisy-senv]";
const CEILING = "accuracy[unstated]";

export const headline = (row) => score(row, HEADLINE);

// One line per method over ε; the ceiling and the floor as horizontal references.
export function linesOf(rows, published) {
  const groups = Map.groupBy(rows.filter((row) => row.level !== 0 && (published || row.kind !== "paper")), (row) => row.label);
  const lines = [];
  const levels = [];
  for (const [name, members] of groups) {
    const [first] = members;
    const points = members.filter((row) => headline(row) !== null).map((row) => ({ x: row.epsilon, y: headline(row), low: row.low, high: row.high }));
    const ceiling = members.map((row) => score(row, CEILING)).find((value) => value !== null);
    if (ceiling !== undefined) levels.push({ name, level: ceiling });
    else if (!points.length) continue;
    else if (["real", "uniform"].includes(first.method)) levels.push({ name, level: points.reduce((sum, p) => sum + p.y, 0) / points.length });
    else lines.push({ name, points, best: Math.max(...points.map((p) => p.y)), reference: first.kind === "reference" });
  }
  lines.sort((a, b) => b.best - a.best);
  const [methods, references] = [lines.filter((line) => !line.reference), lines.filter((line) => line.reference)];
  return { lines: [...methods.slice(0, SHOWN), ...references, ...levels], left: Math.max(0, methods.length - SHOWN) };
}

function overall(board, track) {
  const result = board.overall[track];
  if (!result?.methods.length) return null;
  const rows = result.methods.map((one) => {
    return [link(format("method", one.method), labelIn(board, track, one)), one.best === one.worst ? `${one.best}` : `${one.best}–${one.worst}`, one.mean_rank.toFixed(2), one.accuracy.toFixed(1)];
  });
  const text = result.enough
    ? `Mean rank over ${result.cells} cells (dataset and ε) at the track's budgets; the interval is from resampling the cells. Only cells that rank at least three methods, and only methods ranked in each of them.`
    : `Only ${result.cells} ${result.cells === 1 ? "cell" : "cells"} at the track's budgets so far: too few to order methods over the track, so intervals span all of them.`;
  return h("section", { class: "card" }, h("h2", null, "Over the whole track"), h("p", { class: "note" }, text), simpleTable("Overall", ["Method", "Rank interval", "Mean rank", "Mean Acc %"], rows));
}

const LABEL = ["method", "variant", "public", "pretrain", "preludes", "overrides", "tuned"];
const same = (row, one) => LABEL.every((name) => row[name] === one[name]);
const labelIn = (board, track, one) => board.rows.find((row) => row.track === track && same(row, one))?.label || one.method;

// Accuracy against cost and against the first fidelity metric that two methods have.
function pareto(rows, where) {
  const known = rows.filter((row) => headline(row) !== null && (row.kind === "run" || (row.kind === "reference" && row.assurance === "mechanism")));
  const points = (x) => known.map((row) => ({ name: row.label, x: x(row), y: headline(row), hardware: row.hardware, reference: row.kind === "reference" })).filter((p) => p.x !== null && p.x !== undefined);
  const enough = (list) => list.length > 1 && list.some((p) => !p.reference);
  const long = Math.max(...known.map((row) => row.minutes ?? 0)) >= 120;
  const cost = points((row) => (row.minutes === null ? null : row.minutes / (long ? 60 : 1)));
  const fidelity = ["fid", "fd-effnet", "fd-random"].find((key) => enough(points((row) => score(row, key))));
  if (!enough(cost) && !fidelity) return null;
  const label = fidelity && byKey.get(fidelity).label;
  return h(
    "section",
    { class: "card" },
    h("h2", null, `Utility against cost and fidelity, ${where}`),
    h(
      "div",
      { class: "two" },
      enough(cost) && scatter(`Accuracy against ${long ? "hours" : "minutes"} of one run`, cost, { xLabel: `${long ? "hours" : "minutes"} per run, log scale`, yLabel: "Acc %", log: true, perHardware: true }),
      fidelity && scatter(`Accuracy against ${label}`, points((row) => score(row, fidelity)), { xLabel: `${label}, lower is better`, yLabel: "Acc %" }),
    ),
  );
}

// Row i, column j: in how many of their common cells i is surely better than j.
function wins(board, track) {
  const found = board.wins?.[track];
  if (!found || track === board.published_track) return null;
  const title = h("h2", null, "Who surely beats whom");
  if (!found.methods.length) return h("section", { class: "card" }, title, h("p", { class: "note" }, "A win matrix appears once three methods are ranked in the same three cells (dataset and ε) at the track's budgets."));
  const names = found.methods.map((one) => labelIn(board, track, one));
  const cell = (i, j) => {
    if (i === j) return h("td", { class: "own" }, "–");
    const [won, common] = [found.wins[i][j], found.common[i][j]];
    const words = common ? `${names[i]} is surely better than ${names[j]} in ${won} of ${common} common cells.` : `${names[i]} and ${names[j]} have no cell in common.`;
    return h("td", { class: common ? null : "own", "data-hint": words, style: { "--share": `${common ? Math.round((45 * won) / common) : 0}%` } }, common ? `${won}/${common}` : h("span", { class: "hidden" }, "no common cell"));
  };
  return h(
    "section",
    { class: "card" },
    title,
    h("p", { class: "note" }, "Each entry counts the cells (dataset and ε, at the track's budgets) in which the row's rank interval lies before the column's, of the cells in which both are ranked. Both entries of a pair can be 0: ranks that overlap settle nothing.", found.left_out > 0 && ` The ${found.left_out} methods with fewer wins are left out.`),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Win matrix" },
      h(
        "table",
        { class: "matrix" },
        h("caption", { class: "hidden" }, "Cells in which the row's method is surely better than the column's"),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, h("span", { class: "hidden" }, "Method")), names.map((name, j) => h("th", { scope: "col", "data-hint": name }, j + 1, h("span", { class: "hidden" }, ` ${name}`))))),
        h("tbody", null, names.map((name, i) => h("tr", null, h("th", { scope: "row" }, `${i + 1} `, link(format("method", found.methods[i].method), name)), names.map((_, j) => cell(i, j))))),
      ),
    ),
  );
}

export function overviewPage(board, context) {
  const { tracks, datasets, epsilons, fullest, state } = defaults(board, context.state);
  if (state.dataset === "all") [state.dataset] = datasets;
  if (state.eps === "all") state.eps = fullest;
  const go = (patch) => context.go(format("overview", "", { ...state, ...patch }), true);
  const titled = (kind, names) => names.map((name) => [name, board.title(kind, name)]);
  const published = state.track === board.published_track;
  const all = board.inTrack(state.track).filter((row) => row.dataset === state.dataset && row.level !== 0);
  const cell = all.filter((row) => String(row.epsilon) === state.eps);
  const { lines, left } = linesOf(all, published);
  const runs = cell.filter((row) => row.kind === (published ? "paper" : "run"));
  const top = [...runs.slice(0, SHOWN), ...cell.filter((row) => row.kind === "reference")];
  const tableLink = format("table", "", { track: state.track, dataset: state.dataset, eps: state.eps });
  return h(
    "section",
    null,
    h("h1", null, "How good are private synthetic images?"),
    h("p", { class: "lead" }, "A generator is trained on sensitive images under differential privacy. A classifier then learns from its synthetic images alone and is tested on real ones. This board ranks generators by that accuracy, at equal privacy."),
    h(
      "ul",
      { class: "three" },
      h("li", null, h("strong", null, "ε is the privacy budget."), " Smaller is stricter: ε = 1 is strong protection of every single image, ε = 10 weak. The ε of every ranked run is recomputed from its ledger."),
      h("li", null, h("strong", null, "Ranks are intervals."), " Methods that seeds and test set cannot separate share a rank. Three seeds are needed for any."),
      h("li", null, h("strong", null, "Numbers have sources."), " Results are recomputed from images before they are ranked; ", link("#/read", "how to read this board"), "."),
    ),
    h("div", { class: "bar" }, choice("Track", titled("tracks", tracks), state.track, (track) => go({ track, dataset: "", eps: "" }), { "data-control": "track" }), choice("Dataset", titled("datasets", datasets), state.dataset, (dataset) => go({ dataset }), { "data-control": "dataset" }), choice("ε", epsilons.map((e) => [e, e]), state.eps, (eps) => go({ eps }), { "data-control": "eps" })),
    h("p", { class: "note" }, board.card("tracks", state.track)?.summary),
    h(
      "div",
      { class: "two" },
      h("section", { class: "card" }, h("h2", null, `Accuracy by privacy budget, ${board.title("datasets", state.dataset)}`), curves(`Accuracy by ε on ${state.dataset}`, epsilons.map(Number), lines, { xLabel: "ε", yLabel: "Acc %", unit: " %" }), left > 0 && h("p", { class: "note" }, `${left} more methods in the `, link(tableLink, "full table"), ".")),
      h(
        "section",
        { class: "card" },
        h("h2", null, `Standing at ε = ${state.eps}`),
        top.length
          ? simpleTable(
              "Standing",
              ["Method", "Rank", "Acc %, Noisy SenV"],
              top.map((row) => [link(format("method", row.method), row.label), standingWords(row), byKey.get(HEADLINE).text(row) || (score(row, CEILING) !== null ? `${number(score(row, CEILING))} (protocol unstated)` : "")]),
            )
          : h("p", { class: "nothing" }, "No reviewed result here yet."),
        h("p", null, link(tableLink, "All columns, filters and export →")),
      ),
    ),
    pareto(cell, `${board.title("datasets", state.dataset)}, ε = ${state.eps}`),
    overall(board, state.track),
    wins(board, state.track),
  );
}

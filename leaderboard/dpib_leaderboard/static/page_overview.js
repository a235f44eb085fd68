// The landing view: what this is, the curves of one dataset, the ranks of one cell, the order over a track.

import { byKey } from "./columns.js";
import { number, score, standing } from "./data.js";
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
    else lines.push({ name, points, best: Math.max(...points.map((p) => p.y)) });
  }
  lines.sort((a, b) => b.best - a.best);
  return { lines: [...lines.slice(0, SHOWN), ...levels], left: Math.max(0, lines.length - SHOWN) };
}

function overall(board, track) {
  const result = board.overall[track];
  if (!result?.methods.length) return null;
  const rows = result.methods.map((one) => {
    const row = board.rows.find((r) => r.track === track && r.method === one.method && r.variant === one.variant && r.public === one.public && r.tuned === one.tuned);
    return [link(format("method", one.method), row?.label || one.method), one.best === one.worst ? `${one.best}` : `${one.best}–${one.worst}`, one.mean_rank.toFixed(2), one.accuracy.toFixed(1)];
  });
  const text = result.enough
    ? `Mean rank over ${result.cells} cells (dataset and ε); the interval is from resampling the cells. Only methods ranked in every cell.`
    : `Only ${result.cells} cells so far: too few to order methods over the track, so intervals span all of them.`;
  return h("section", { class: "card" }, h("h2", null, "Over the whole track"), h("p", { class: "note" }, text), simpleTable("Overall", ["Method", "Rank interval", "Mean rank", "Mean Acc %"], rows));
}

function pareto(rows) {
  const points = (key) => rows.filter((row) => headline(row) !== null && row.kind === "run").map((row) => ({ name: row.label, x: key === "minutes" ? row.minutes : score(row, key), y: headline(row) })).filter((p) => p.x !== null && p.x !== undefined);
  const fidelity = ["fd-effnet", "fid", "fd-random"].find((key) => points(key).length > 1);
  if (points("minutes").length < 2 && !fidelity) return null;
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Utility against cost and fidelity"),
    h("div", { class: "two" },
    points("minutes").length > 1 && scatter("Accuracy against minutes", points("minutes"), { xLabel: "minutes per run", yLabel: "Acc %", log: true }),
    fidelity && scatter(`Accuracy against ${byKey.get(fidelity).label}`, points(fidelity), { xLabel: `${byKey.get(fidelity).label} (lower is better)`, yLabel: "Acc %" })),
  );
}

export function overviewPage(board, context) {
  const { tracks, datasets, epsilons, state } = defaults(board, context.state);
  if (state.dataset === "all") [state.dataset] = datasets;
  if (state.eps === "all") [state.eps] = epsilons;
  const go = (patch) => context.go(format("overview", "", { ...state, ...patch }), true);
  const titled = (kind, names) => names.map((name) => [name, board.title(kind, name)]);
  const published = state.track === board.published_track;
  const all = board.inTrack(state.track).filter((row) => row.dataset === state.dataset && row.level !== 0);
  const cell = all.filter((row) => String(row.epsilon) === state.eps);
  const { lines, left } = linesOf(all, published);
  const top = cell.filter((row) => published || row.kind !== "paper").slice(0, SHOWN);
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
              top.map((row) => [link(format("method", row.method), row.label), standing(row), byKey.get(HEADLINE).text(row) || (score(row, CEILING) !== null ? `${number(score(row, CEILING))} (protocol unstated)` : "")]),
            )
          : h("p", { class: "nothing" }, "No reviewed result here yet."),
        h("p", null, link(tableLink, "All columns, filters and export →")),
      ),
    ),
    overall(board, state.track),
    pareto(cell),
  );
}

// The full table with its controls.

import { COLUMNS, chosenColumns } from "./columns.js";
import { choice, copyButton, download, h } from "./dom.js";
import { isHidden } from "./data.js";
import { toCsv, toJson, toLatex } from "./export.js";
import { FILTERS, visibleRows } from "./filters.js";
import { format } from "./state.js";
import { Table, sortRows } from "./table.js";

const ALL = ["all", "all"];

export function defaults(board, state) {
  const tracks = board.trackNames();
  const track = tracks.includes(state.track) ? state.track : tracks[0];
  const rows = board.rows.filter((row) => row.track === track);
  const order = board.card("tracks", track)?.datasets || ["mnist", "fashion-mnist"];
  const place = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  const datasets = [...new Set(rows.map((row) => row.dataset))].sort((a, b) => place(a) - place(b));
  const epsilons = [...new Set(rows.map((row) => String(row.epsilon)))].sort((a, b) => a - b);
  const pick = (value, known, otherwise) => (value === "all" || known.includes(value) ? value : otherwise);
  const dataset = pick(state.dataset, datasets, datasets[0]);
  // Where most is known; of equals the strictest.
  const shown = rows.filter((row) => row.level !== 0 && (row.dataset === dataset || dataset === "all"));
  const known = (epsilon) => shown.filter((row) => String(row.epsilon) === epsilon).length;
  const fullest = epsilons.reduce((best, epsilon) => (known(epsilon) > known(best) ? epsilon : best), epsilons[0]);
  return { tracks, datasets, epsilons, fullest, state: { ...state, track, dataset, eps: pick(state.eps, epsilons, fullest) } };
}

export function tablePage(board, context) {
  const { tracks, datasets, epsilons, state } = defaults(board, context.state);
  const update = (patch, push = true) => {
    Object.assign(state, patch);
    context.go(format("table", "", state), push);
  };
  let rows = [];
  let columns = [];
  const hidden = board.rows.filter((row) => row.track === state.track && isHidden(row)).length;
  const table = new Table(board, { caption: "Results", onSort: (sort) => apply({ sort }) });
  const count = h("p", { class: "count", role: "status", "aria-live": "polite" });

  function apply(patch) {
    update(patch, false);
    if (!columns.length || "cols" in patch || "level" in patch) columns = chosenColumns(scopeOf(board, state), state);
    rows = sortRows(visibleRows(board, state, columns), state.sort, columns);
    table.set(rows, columns, state.sort);
    const ranked = rows.filter((row) => row.ranked).length;
    const apart = hidden && !state.level?.includes("0") ? ` ${hidden} self-reported not shown (Trust: 0).` : "";
    count.textContent = `${rows.length} rows, ${ranked} of them ranked.${apart}`;
    paperNote.hidden = !rows.some((row) => row.kind === "paper");
    for (const [box, key] of boxes) box.checked = columns.some((column) => column.key === key);
  }

  const reset = (patch) => {
    update({ sort: "", cols: [], ...patch });
  };
  const titled = (kind, names) => names.map((name) => [name, board.title(kind, name)]);
  const where = h(
    "div",
    { class: "bar" },
    choice("Track", titled("tracks", tracks), state.track, (track) => reset({ track, dataset: "", eps: "" }), { "data-control": "track" }),
    choice("Dataset", [...titled("datasets", datasets), ALL], state.dataset, (dataset) => reset({ dataset }), { "data-control": "dataset" }),
    choice("ε", [...epsilons.map((e) => [e, e]), ALL], state.eps, (eps) => reset({ eps }), { "data-control": "eps" }),
    h("label", { class: "choice grow" }, h("span", null, "Search"), h("input", { type: "search", value: state.q || "", placeholder: "method, public data, hardware", "aria-label": "Search", on: { input: (event) => apply({ q: event.target.value }) } })),
  );

  const toggles = FILTERS.map(([name, title, options]) =>
    h(
      "fieldset",
      { "data-filter": name },
      h("legend", null, title),
      options.map(([key, text]) =>
        h("label", { class: "tick" }, h("input", { type: "checkbox", checked: Boolean(state[name]?.includes(key)), on: { change: (event) => apply({ [name]: toggled(state[name], key, event.target.checked) }) } }), text),
      ),
    ),
  );
  const complete = h("label", { class: "tick" }, h("input", { type: "checkbox", checked: Boolean(state.complete), on: { change: (event) => apply({ complete: event.target.checked ? "1" : "" }) } }), "Only rows that are complete in the shown columns");
  const filters = h("details", { class: "panel", open: FILTERS.some(([name]) => state[name]?.length) || Boolean(state.complete) }, h("summary", null, "Filters"), h("div", { class: "filters" }, toggles, complete));

  const boxes = [];
  const groups = [...new Set(COLUMNS.map((column) => column.group))];
  const chooser = h(
    "details",
    { class: "panel" },
    h("summary", null, "Columns"),
    h(
      "div",
      { class: "filters" },
      groups.map((group) =>
        h(
          "fieldset",
          null,
          h("legend", null, group),
          COLUMNS.filter((column) => column.group === group).map((column) => {
            const box = h("input", { type: "checkbox", disabled: column.fixed, on: { change: () => apply({ cols: boxes.filter(([one]) => one.checked).map(([, key]) => key) }) } });
            boxes.push([box, column.key]);
            return h("label", { class: "tick" }, box, column.label);
          }),
        ),
      ),
    ),
  );

  const name = () => ["dpib", state.track, state.dataset, `eps${state.eps}`].join("-");
  const address = () => new URL(format("table", "", state), window.location.href).href;
  const actions = h(
    "div",
    { class: "bar actions" },
    copyButton("Copy link", address),
    h("button", { type: "button", on: { click: () => download(`${name()}.csv`, "text/csv;charset=utf-8", toCsv(rows, columns)) } }, "CSV"),
    h("button", { type: "button", on: { click: () => download(`${name()}.tex`, "text/x-tex", toLatex(rows, columns, `${name()}, snapshot ${board.digest.slice(0, 12)}, ${board.built}`)) } }, "LaTeX"),
    h("button", { type: "button", on: { click: () => download(`${name()}.json`, "application/json", toJson(rows, columns, board, address())) } }, "JSON"),
    h("button", { type: "button", on: { click: () => context.go(format("table", "", { track: state.track, dataset: state.dataset, eps: state.eps }), true) } }, "Reset"),
  );
  const paperNote = h("p", { class: "note", hidden: true }, "Rows marked paper are printed numbers, not ranked. ", board.card("tracks", board.published_track).summary);
  const intro = board.card("tracks", state.track)?.published ? "Numbers of the paper, as printed." : board.card("tracks", state.track)?.summary;

  apply({});
  return h("section", null, h("h1", null, "Results"), h("p", { class: "lead" }, intro), where, h("div", { class: "panels" }, filters, chooser), h("div", { class: "bar between" }, count, actions), table.element, table.nothing, paperNote);
}

// What search and filters choose from; columns are chosen by it, so that filtering does not move them.
const scopeOf = (board, state) =>
  board.inTrack(state.track).filter((row) => (state.dataset === "all" || row.dataset === state.dataset) && (state.eps === "all" || String(row.epsilon) === state.eps) && (!isHidden(row) || state.level?.includes("0")));

const toggled = (list, key, on) => (on ? [...new Set([...(list || []), key])] : (list || []).filter((one) => one !== key));

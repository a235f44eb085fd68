// Pages of methods, datasets and metrics: the card, and every row that belongs to it.

import { byKey } from "./columns.js";
import { familyOf, isHidden, noiseOf, number, score, scoresOf, standingWords } from "./data.js";
import { copyButton, facts, h, link, simpleTable } from "./dom.js";
import { linesOf } from "./page_overview.js";
import { curves } from "./plots.js";
import { format } from "./state.js";

const HEADLINE = "accuracy[noisy-senv]";

// A link only when the text is a web address.
export const outside = (text) => (/^https:\/\/[^\s]+$/.test(text || "") ? link(text, text, { rel: "noopener noreferrer", target: "_blank" }) : text);

const cellLink = (board, row) => link(format("table", "", { track: row.track, dataset: row.dataset, eps: String(row.epsilon) }), `${board.title("datasets", row.dataset)}, ε = ${row.epsilon}`);
const best = (row) => byKey.get(HEADLINE).text(row) || (score(row, "accuracy[unstated]") !== null ? `${number(score(row, "accuracy[unstated]"))} (protocol unstated)` : "");

// Cards in two parts: what runs here, and what only the paper's numbers speak of.
function index(title, lead, page, cards, describe, isHere) {
  const names = Object.keys(cards).sort((a, b) => (cards[a].title || a).localeCompare(cards[b].title || b));
  const parts = [["", names.filter((name) => isHere(cards[name]))], ["In the paper's numbers only", names.filter((name) => !isHere(cards[name]))]];
  return h(
    "section",
    null,
    h("h1", null, title),
    h("p", { class: "lead" }, lead),
    parts.filter(([, list]) => list.length).map(([heading, list]) => [
      heading && h("h2", null, heading),
      h("ul", { class: "cards" }, list.map((name) => h("li", { class: "card" }, h(heading ? "h3" : "h2", null, link(format(page, name), cards[name].title || name)), h("p", null, describe(cards[name]))))),
    ]),
  );
}

const unknown = (kind, name) => h("section", null, h("h1", null, `No ${kind} of this name`), h("p", null, `"${name}" has neither a card nor a result here.`));

export function methodPage(board, { argument: name }) {
  const kind = (card) => [familyOf(card), noiseOf(card)].filter(Boolean).join(", ");
  if (!name) return index("Methods", "What makes the synthetic images. A method's page has its card, its departures from the paper, and all its results.", "method", board.cards.methods, (card) => [card.summary, `${kind(card)}.`].filter(Boolean).join(" "), (card) => !card.published);
  const rows = board.rows.filter((row) => row.method === name && !isHidden(row));
  const card = board.card("methods", name);
  if (!card && !rows.length) return unknown("method", name);
  const about = card || { title: name };
  const own = rows.find((row) => row.records?.length);
  const place = own || (board.cards.tracks["lite-v1"] && { track: "lite-v1", dataset: "mnist", epsilon: 1 });
  const command = place && `dpib run ${name} --dataset ${place.dataset} --epsilon ${place.epsilon} --track ${place.track}`;
  return h(
    "section",
    null,
    h("h1", null, about.title || name),
    h("p", { class: "lead" }, about.summary),
    facts([
      ["Kind", kind(about)],
      ["Public data", about.public_data || about.pretraining],
      ["Neighbours in the original paper", about.published_relation],
      ["Paper", about.paper],
      ["Home page", outside(about.homepage)],
      ["Licence", about.licence],
    ]),
    about.deviations?.length ? h("details", { class: "panel" }, h("summary", null, `Departures from paper and published code (${about.deviations.length})`), h("ul", null, about.deviations.map((text) => h("li", null, text)))) : null,
    about.bibtex ? h("p", null, copyButton("Copy BibTeX", about.bibtex)) : null,
    !about.published && command && [h("h2", null, "Run it"), h("pre", null, command)],
    h("h2", null, "Results"),
    h("p", { class: "note" }, own ? "A record's page has the exact command that repeats it." : rows.length ? "Only printed numbers of the paper so far." : "No reviewed result yet."),
    rows.length > 0 && simpleTable(
      `Results of ${about.title || name}`,
      ["Cell", "Track", "Configuration", "Rank", "Acc %, Noisy SenV", "Records"],
      rows.map((row) => [cellLink(board, row), board.title("tracks", row.track), row.label, standingWords(row), best(row), (row.records || []).map((id, i) => [i ? ", " : "", link(format("record", id), id.slice(0, 8))])]),
    ),
  );
}

export function datasetPage(board, { argument: name }) {
  const used = Object.fromEntries(board.rows.map((row) => [row.dataset, { title: row.dataset }]));
  if (!name) return index("Datasets", "Sensitive datasets that are ranked on, and public ones for pretraining.", "dataset", { ...used, ...board.cards.datasets }, (card) => (card.role ? `${card.role[0].toUpperCase()}${card.role.slice(1)}; ${card.classes.length.toLocaleString("en")} classes; ${card.split.sizes.train.toLocaleString("en")} training images of ${card.shape.join(" × ")}.` : "No card here."), (card) => Boolean(card.role));
  const rows = board.rows.filter((row) => row.dataset === name && row.level !== 0);
  const card = board.card("datasets", name);
  if (!card && !rows.length) return unknown("dataset", name);
  const tracks = [...new Set(rows.map((row) => row.track))];
  return h(
    "section",
    null,
    h("h1", null, card?.title || name),
    card
      ? facts([
          ["Role", card.role],
          ["Images", `${card.shape.join(" × ")} (channels, height, width)`],
          ["Classes", `${card.classes.length}: ${card.classes.slice(0, 20).join(", ")}${card.classes.length > 20 ? ", …" : ""}`],
          ["Sides", Object.entries(card.split.sizes).map(([side, count]) => `${side} ${count.toLocaleString("en")}`).join(", ")],
          ["Protected unit", card.privacy_unit],
          ["δ", card.delta.toExponential(3)],
          ["Licence", card.licence],
          ["Citation", card.citation],
          ["Home page", outside(card.homepage)],
          ["Notes", card.notes],
        ])
      : h("p", { class: "lead" }, "This dataset has numbers of the paper only; it has no card here yet."),
    tracks.map((track) => {
      const mine = rows.filter((row) => row.track === track);
      const epsilons = [...new Set(mine.map((row) => row.epsilon))].sort((a, b) => a - b);
      const published = track === board.published_track;
      return h("section", { class: "card" }, h("h2", null, board.title("tracks", track)), curves(`Accuracy by ε on ${name}, ${track}`, epsilons, linesOf(mine, published).lines, { xLabel: "ε", yLabel: "Acc %", unit: " %" }), h("p", null, epsilons.map((e, i) => [i ? " · " : "", link(format("table", "", { track, dataset: name, eps: String(e) }), `Table at ε = ${e}`)])));
    }),
  );
}

const columnsOf = (name) => [...byKey.keys()].filter((key) => scoresOf(name).includes(key.replace(/\[.*$/, "")));
const covered = (board, key) => Object.keys(board.cards.metrics).some((name) => columnsOf(name).includes(key));

export function metricPage(board, { argument: name }) {
  const printed = Object.fromEntries([...byKey.values()].filter((column) => column.group === "Fidelity" && !covered(board, column.key)).map((column) => [column.key, { title: column.label, summary: column.hint, higher_is_better: column.better === "high", source: "Printed in the paper; not computed here." }]));
  if (!name) return index("Metrics", "What is measured. Scores compare with real images exactly: they are not private.", "metric", { ...printed, ...board.cards.metrics }, (card) => card.summary, (card) => !Object.values(printed).includes(card));
  const card = board.card("metrics", name) || (Object.hasOwn(printed, name) ? printed[name] : null);
  if (!card) return unknown("metric", name);
  const tracks = Object.values(board.cards.tracks).filter((track) => track.metrics?.includes(name));
  const columns = columnsOf(name);
  return h(
    "section",
    null,
    h("h1", null, card.title),
    h("p", { class: "lead" }, card.summary),
    facts([
      ["Better", card.higher_is_better ? "higher" : "lower"],
      ["Unit", card.unit],
      ["Source", card.source],
      ["Needs", card.needs],
      ["Demanded by", tracks.map((track) => track.title).join(", ")],
    ]),
    columns.length ? h("h2", null, "Columns") : null,
    columns.length ? simpleTable("Columns", ["Column", "Meaning"], columns.map((key) => [byKey.get(key).label, byKey.get(key).hint])) : null,
    columns.length ? h("p", null, link(format("table", "", { cols: columns }), "Show these columns")) : null,
  );
}

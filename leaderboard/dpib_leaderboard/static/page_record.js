// One record in human words: guarantee, scores, samples, ledger, command, and what differs from another record.

import { fetchJson, gridUrl, number, recordUrl } from "./data.js";
import { copyButton, facts, h, link, simpleTable } from "./dom.js";
import { format } from "./state.js";

const seconds = (value) => (value >= 90 ? `${(value / 60).toFixed(1)} min` : `${Number(value).toFixed(1)} s`);
const gib = (bytes) => (bytes === null || bytes === undefined ? null : `${(bytes / 2 ** 30).toFixed(2)} GiB`);

export function leaves(value, path = "") {
  if (value === null || typeof value !== "object") return [[path, value]];
  const entries = Object.entries(value);
  if (!entries.length) return [[path, Array.isArray(value) ? "[]" : "{}"]];
  return entries.flatMap(([key, item]) => leaves(item, path ? `${path}.${key}` : key));
}

export function difference(a, b) {
  const [left, right] = [new Map(leaves(a)), new Map(leaves(b))];
  return [...new Set([...left.keys(), ...right.keys()])].filter((path) => left.get(path) !== right.get(path)).map((path) => [path, left.get(path), right.get(path)]);
}

const shown = (value) => (value === undefined ? "absent" : value === null ? "none" : String(value));

function scoreTable(scores) {
  const rows = scores.map((score) => [
    score.protocol ? `${score.metric}, ${score.protocol}` : score.metric,
    score.classifier || (score.protocol ? "mean" : ""),
    score.value === null ? `undefined: ${score.reason}` : `${number(score.value, Math.abs(score.value) < 1 ? 4 : 2)}${score.stderr ? ` ± ${number(score.stderr, 2)}` : ""}`,
    score.private_selection ? "" : "not DP",
    score.evaluator,
  ]);
  return simpleTable("Scores", ["Metric", "Classifier", "Value", "Selection", "Evaluator"], rows);
}

function eventTable(events) {
  const rows = events.map((event) => [event.label, event.side, leaves(event.event).map(([key, value]) => `${key} ${shown(value)}`).join(", "), event.sensitivity === null ? "" : `${event.sensitivity} (${event.norm})`, event.sampling, event.assurance, shown(event.steps_executed), event.notes]);
  return simpleTable("Accesses to private images", ["Access", "Side", "Event", "Sensitivity", "Sampling", "Assurance", "Steps", "Notes"], rows);
}

// What the reviewer found; the recomputed scores stand above.
function reviewFacts({ scores, checks, differences, ...rest }) {
  const state = (holds) => (holds === true ? "holds" : holds === false ? "fails" : "undecided");
  const parts = [facts(leaves(rest).map(([path, value]) => [path.replaceAll("_", " "), shown(value)]))];
  if (checks?.length) parts.push(simpleTable("Checks", ["Check", "", "Detail"], checks.map((one) => [one.name, state(one.holds), one.detail])));
  const apart = (differences || []).filter((one) => !one.agrees);
  if (apart.length) parts.push(simpleTable("Scores that differ", ["Metric", "Protocol", "Submitted", "Recomputed"], apart.map((one) => [one.metric, one.protocol || "", shown(one.submitted), shown(one.recomputed)])));
  return parts;
}

function diffPanel(board, page, other, go) {
  const result = h("div", { "aria-live": "polite" });
  const same = board.records.filter((one) => one.dataset === page.record.task.spec.dataset && !page.record.id.startsWith(one.id));
  const select = h("select", { on: { change: () => compare(select.value) } }, h("option", { value: "" }, "choose a record"), same.map((one) => h("option", { value: one.id, selected: one.id === other }, `${one.method}, ε = ${one.epsilon}, seed ${one.seed} (${one.id.slice(0, 8)})`)));
  async function compare(id) {
    go(id);
    if (!id) return result.replaceChildren();
    try {
      const rows = difference(page.record, (await fetchJson(recordUrl(id))).record);
      result.replaceChildren(simpleTable("Differences", ["Field", "This record", "The other"], rows.map(([path, a, b]) => [path, shown(a), shown(b)])));
    } catch (error) {
      result.replaceChildren(h("p", { class: "problem", role: "alert" }, error.message));
    }
  }
  if (other) compare(other);
  return h("section", { class: "card" }, h("h2", null, "Compare with another record"), h("label", { class: "choice" }, h("span", null, "Other record, same dataset"), select), result);
}

function render(board, page, state, go) {
  const { record, review } = page;
  const { spec } = record.task;
  const summary = board.recordById.get(record.id.slice(0, 16));
  const successor = board.records.find((one) => one.supersedes === record.id.slice(0, 16));
  const classes = record.task.classes.length;
  return [
    summary?.invalidated && h("p", { class: "problem", role: "alert" }, `Invalidated: ${summary.invalidated}. It takes part in nothing.`),
    page.refused && !summary?.invalidated && h("p", { class: "problem", role: "alert" }, "Refused in review; the reasons are below. It takes part in nothing."),
    successor && h("p", { class: "problem" }, "Superseded by ", link(format("record", successor.id), successor.id), "."),
    h("p", { class: "lead" }, `${record.method.title} on ${board.title("datasets", spec.dataset)} at ε = ${spec.epsilon}, seed ${spec.seed}, track ${spec.track}. Trust level ${page.level}: ${board.levels[page.level]}.`),
    h("section", { class: "card" }, h("h2", null, "Privacy statement"), h("p", { class: "statement" }, record.privacy.statement)),
    h(
      "div",
      { class: "two" },
      h("section", { class: "card" }, h("h2", null, "Samples"), page.grid ? h("figure", null, h("img", { src: gridUrl(record.id.slice(0, 16)), alt: `Sample grid of ${record.method.title} on ${spec.dataset}, sorted by class`, class: "grid", width: 400, height: 400 }), h("figcaption", null, `${record.synthetic.count.toLocaleString("en")} synthetic images in ${classes} classes; the grid shows some of each.`)) : h("p", { class: "nothing" }, "No grid was stored.")),
      h(
        "section",
        { class: "card" },
        h("h2", null, "Run"),
        facts([
          ["Method", link(format("method", spec.method), `${record.method.title} ${record.method.version}`)],
          ["Brought by", record.method.distribution],
          ["ε spent, δ", record.privacy.spent_epsilon === null ? "not private" : `${number(record.privacy.spent_epsilon, 4)}, ${record.privacy.delta.toExponential(3)}`],
          ["Second accountant", record.privacy.second_opinion === null ? null : `${number(record.privacy.second_opinion, 4)} by ${record.privacy.second_accountant}`],
          ["Public data", spec.public],
          ["Attempts", record.privacy.attempts],
          ["Tuning", record.privacy.tuning],
          ["Created", record.created],
          ["Hardware", `${record.cost.hardware} (${record.cost.device})`],
          ["Time", Object.entries(record.cost.seconds).map(([stage, value]) => `${stage} ${seconds(value)}`).join("; ")],
          ["Total", seconds(record.cost.total_seconds)],
          ["Peak memory", [gib(record.cost.peak_memory_bytes), gib(record.cost.peak_gpu_bytes)].filter(Boolean).join(", GPU ")],
          ["Status", summary?.status],
          ["Record", h("code", { class: "wrap" }, record.id)],
        ]),
      ),
    ),
    h("section", { class: "card" }, h("h2", null, "Repeat it"), h("pre", null, page.command), copyButton("Copy command", page.command), h("p", { class: "note" }, "Noise comes from the operating system's entropy: a repetition agrees within a tolerance, not bit for bit.")),
    h(
      "section",
      { class: "card" },
      h("h2", null, "Scores"),
      page.scores.length ? [h("p", { class: "note" }, "Recomputed in review. ± is the standard error from the finite test set. Scores are not private."), scoreTable(page.scores)] : h("p", null, "Nobody has recomputed them yet."),
      h("details", null, h("summary", null, "As submitted, not a result"), scoreTable(record.scores)),
    ),
    h("section", { class: "card" }, h("h2", null, "Accesses to private images"), eventTable(record.privacy.events), h("details", null, h("summary", null, `Ledger, ${page.ledger.length} lines`), h("pre", null, page.ledger.join("\n")))),
    diffPanel(board, page, state.against, go),
    review && h("section", { class: "card" }, h("h2", null, "Review"), reviewFacts(review)),
    h("details", { class: "panel" }, h("summary", null, "Everything in the record"), simpleTable("Record", ["Field", "Value"], leaves(record).map(([path, value]) => [path, shown(value)]))),
  ];
}

export function recordPage(board, { argument: id, state, go }) {
  const body = h("div", null, h("p", { class: "loading" }, "Loading the record…"));
  fetchJson(recordUrl(id))
    .then((page) => body.replaceChildren(...render(board, page, state, (against) => go(format("record", id, { against }), false)).filter(Boolean)))
    .catch((error) => body.replaceChildren(h("p", { class: "problem", role: "alert" }, `This record cannot be shown. ${error.message}`)));
  return h("section", null, h("h1", null, `Record ${id.slice(0, 8)}`), body);
}

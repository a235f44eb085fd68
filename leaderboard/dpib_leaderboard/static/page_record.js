// One record in human words: guarantee, scores, samples, ledger, command, and what differs from another record.

import { classBars, isOfClass } from "./class_bars.js";
import { byKey } from "./columns.js";
import { GRAVE, badges, fetchJson, number, recordUrl, roundUp } from "./data.js";
import { diffPanel, leaves, shown } from "./diff_panel.js";
import { copyButton, facts, h, link, simpleTable } from "./dom.js";
import { reviewPanel } from "./review_panel.js";
import { sampleGrid } from "./samples.js";
import { format } from "./state.js";

const seconds = (value) => (value >= 90 ? `${(value / 60).toFixed(1)} min` : `${Number(value).toFixed(1)} s`);
const gib = (bytes) => (bytes === null || bytes === undefined ? null : `${(bytes / 2 ** 30).toFixed(2)} GiB`);

function scoreTable(scores) {
  const rows = scores.map((score) => [
    byKey.get(score.protocol ? `${score.metric}[${score.protocol}]` : score.metric)?.label || [score.metric, score.protocol].filter(Boolean).join(", "),
    score.classifier || (score.protocol ? "mean" : ""),
    score.value === null ? `undefined: ${score.reason}` : `${number(score.value, Math.abs(score.value) < 1 ? 4 : 2)}${score.stderr ? ` ± ${number(score.stderr, 2)}` : ""}`,
    score.private_selection ? "" : "not DP",
    score.evaluator,
  ]);
  return simpleTable("Scores", ["Metric", "Classifier", "Value", "Selection", "Evaluator"], rows);
}

const KINDS = { "sampled-gaussian": "sampled Gaussian", "partitioned-gaussian": "Gaussian, parallel over parts", "pure-dp": "pure ε-DP", "non-private": "not private" };
const NORMS = { l2: "L2", l1: "L1", linf: "L∞" };

// The event of an access: its kind first, then its numbers.
function eventWords({ kind, ...numbers }) {
  const rest = leaves(numbers).filter(([key]) => key).map(([key, value]) => `${key.replaceAll("_", " ")} ${shown(value)}`).join(", ");
  return [Object.hasOwn(KINDS, kind) ? KINDS[kind] : kind, rest].filter(Boolean).join(": ");
}

function eventTable(events) {
  const rows = events.map((event) => [event.label, event.side, eventWords(event.event), event.sensitivity === null ? "" : `${event.sensitivity}${event.norm ? ` (${Object.hasOwn(NORMS, event.norm) ? NORMS[event.norm] : event.norm})` : ""}`, event.sampling, event.assurance, shown(event.steps_executed), event.notes]);
  return simpleTable("Accesses to private images", ["Access", "Side", "Event", "Sensitivity", "Sampling", "Assurance", "Steps", "Notes"], rows);
}

// How far to trust it, as words on a line: level, assurance, public data, tuning, relation, accountant.
function marks(board, { record, level }) {
  const { privacy, task, method } = record;
  const relation = ["add-or-remove-one", "add or remove one"];
  const found = badges({ kind: "run", assurance: privacy.assurance, public: task.spec.public, tuned: method.tuned, relation: privacy.relation, accountant: privacy.accountant, float_safe: privacy.float_safe, check: record.check && { passed: !record.check.failed.length && !record.check.undecided.length, words: `dpib check, ${record.check.profile}, by who ran it on ${record.check.date.slice(0, 10)}` } });
  if (task.spec.public === "none") found.splice(1, 0, ["no public data", "Pretrained on nothing public."]);
  if (privacy.relation === relation[0]) found.push([relation[1], "Neighbouring datasets differ by one image, added or removed."]);
  const trust = [`trust ${level}: ${board.levels[level]}`, "What the board's maintainers have checked; see How to read."];
  return h("ul", { class: "badges", "aria-label": "Badges" }, [trust, ...found].map(([name, hint]) => h("li", { class: `badge ${GRAVE.includes(name) || (name === trust[0] && level === 0) ? "warn" : ""}`, "data-hint": hint, tabindex: "0" }, name)));
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
    h("p", { class: "lead" }, `${record.method.title} on ${board.title("datasets", spec.dataset)} at ε = ${spec.epsilon}, seed ${spec.seed}, track ${board.title("tracks", spec.track)}.`),
    marks(board, page),
    h("section", { class: "card" }, h("h2", null, "Privacy statement"), h("p", { class: "statement" }, (page.level && review?.statement) || record.privacy.statement), h("p", { class: "note" }, page.level && review?.statement ? "Written anew from the ledger by the reviewer." : "As submitted.")),
    h(
      "div",
      { class: "two" },
      h("section", { class: "card" }, h("h2", null, "Samples"), page.grid ? h("figure", null, sampleGrid(record.id.slice(0, 16), `${record.method.title} on ${spec.dataset}`, record.task.shape, page.level ? record.task.classes : null), h("figcaption", null, `${record.synthetic.count.toLocaleString("en")} ${record.privacy.assurance === "non-private" ? "real" : "synthetic"} images in ${classes} classes; the grid shows ten of each${classes > 10 ? " of the first ten" : ""}, one class per row.`)) : h("p", { class: "nothing" }, "No grid was stored.")),
      h(
        "section",
        { class: "card" },
        h("h2", null, "Run"),
        facts([
          ["Method", link(format("method", spec.method), `${record.method.title} ${record.method.version}`)],
          ["Brought by", record.method.distribution],
          ["ε spent, δ", page.spent_epsilon === null ? "not private" : `${roundUp(page.spent_epsilon)}, ${record.privacy.delta.toExponential(3)}`],
          ["Second accountant", page.second_opinion === null ? null : `${roundUp(page.second_opinion)} by ${record.privacy.second_accountant}`],
          ["Public data", spec.public === "none" ? "none" : `${spec.public}, ${spec.pretrain}`],
          ["Preludes", spec.preludes.join(" + ") || null],
          ["Attempts", page.level ? `${review.attempts} counted in review` : `${record.privacy.attempts}, as submitted`],
          ["Tuning", record.privacy.tuning],
          ["Created", record.created.replace("T", " ")],
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
      page.scores.length ? [h("p", { class: "note" }, "Recomputed in review. ± is the standard error from the finite test set. Scores are not private."), scoreTable(page.scores.filter((score) => !isOfClass(score) || score.value === null)), classBars(page.scores, record.task.classes)] : h("p", null, "Nobody has recomputed them yet."),
      h("details", null, h("summary", null, "As submitted, not a result"), scoreTable(record.scores)),
    ),
    h("section", { class: "card" }, h("h2", null, "Accesses to private images"), eventTable(record.privacy.events), h("details", null, h("summary", null, `Ledger, ${page.ledger.length} lines`), h("pre", null, page.ledger.join("\n")))),
    review && reviewPanel(review, page.level, board.levels),
    diffPanel(board, page, state.against, go),
    h("details", { class: "panel" }, h("summary", null, "Everything in the record, as submitted"), simpleTable("Record", ["Field", "Value"], leaves(record).map(([path, value]) => [path, shown(value)]))),
  ];
}

export function recordPage(board, { argument: id, state, go }) {
  const body = h("div", null, h("p", { class: "loading" }, "Loading the record…"));
  fetchJson(recordUrl(id))
    .then((page) => body.replaceChildren(...render(board, page, state, (against) => go(format("record", id, { against }), false)).filter(Boolean)))
    .catch((error) => body.replaceChildren(h("p", { class: "problem", role: "alert" }, `This record cannot be shown. ${error.message}`)));
  return h("section", null, h("h1", null, `Record ${id.slice(0, 8)}`), body);
}

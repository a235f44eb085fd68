// What differs between two records, block by block. Scores are those recomputed in review, never the submitted ones.

import { fetchJson, number, recordUrl } from "./data.js";
import { h, simpleTable } from "./dom.js";

const BLOCKS = [["results", "Scores"], ["task", "Task"], ["method", "Method"], ["privacy", "Privacy"], ["cost", "Cost"], ["synthetic", "Synthetic images"], ["environment", "Environment"]];
const IDENTITY = new Set(["id", "schema_version", "scores"]);

export function leaves(value, path = "") {
  if (value === null || typeof value !== "object") return [[path, value]];
  const entries = Object.entries(value);
  if (!entries.length) return [[path, Array.isArray(value) ? "[]" : "{}"]];
  return entries.flatMap(([key, item]) => leaves(item, path ? `${path}.${key}` : key));
}

export const shown = (value) => (value === undefined ? "absent" : value === null ? "none" : typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : String(value));

const named = (score) => [score.metric, score.protocol, score.classifier].filter(Boolean).join(", ");

function readable({ record, scores }) {
  const kept = Object.fromEntries(Object.entries(record).filter(([key]) => !IDENTITY.has(key)));
  const { statement: _, events, ...privacy } = kept.privacy;
  kept.privacy = { ...privacy, ...Object.fromEntries(events.map((event) => [`${event.label}, ${event.id}`, event])) };
  return { ...kept, results: Object.fromEntries(scores.map((score) => [named(score), score.value ?? `undefined: ${score.reason}`])) };
}

export function difference(a, b) {
  const [left, right] = [new Map(leaves(a)), new Map(leaves(b))];
  return [...new Set([...left.keys(), ...right.keys()])].filter((path) => left.get(path) !== right.get(path)).map((path) => [path, left.get(path), right.get(path)]);
}

function tables(page, other) {
  const [a, b] = [readable(page), readable(other)];
  const known = new Set(BLOCKS.map(([key]) => key));
  const rest = Object.keys({ ...a, ...b }).filter((key) => !known.has(key));
  const pick = (whole, keys) => Object.fromEntries(keys.map((key) => [key, whole[key]]));
  const blocks = [...BLOCKS.map(([key, title]) => [title, difference(a[key], b[key])]), ["Rest", difference(pick(a, rest), pick(b, rest))]].filter(([, rows]) => rows.length);
  const count = blocks.reduce((sum, [, rows]) => sum + rows.length, 0);
  return [
    h("p", null, `${count} fields differ. Scores are those recomputed in review.`),
    blocks.map(([title, rows]) => [h("h3", null, `${title} (${rows.length})`), simpleTable(`Differences: ${title}`, ["Field", "This record", "The other"], rows.map(([path, x, y]) => [path.replaceAll("_", " "), shown(x), shown(y)]), { class: "plain wraps" })]),
  ];
}

export function diffPanel(board, page, other, go) {
  const result = h("div", { "aria-live": "polite" });
  const same = board.records.filter((one) => one.dataset === page.record.task.spec.dataset && !page.record.id.startsWith(one.id));
  const describe = (one) => `${one.method}, ε = ${one.epsilon}, seed ${one.seed}, ${one.track}${one.accuracy === null ? "" : `, ${number(one.accuracy, 1)} %`} (${one.id.slice(0, 8)})`;
  const select = h("select", { on: { change: () => compare(select.value) } }, h("option", { value: "" }, "choose a record"), same.map((one) => h("option", { value: one.id, selected: one.id === other }, describe(one))));
  async function compare(id) {
    go(id);
    if (!id) return result.replaceChildren();
    try {
      result.replaceChildren(...tables(page, await fetchJson(recordUrl(id))).flat(Infinity));
    } catch (error) {
      result.replaceChildren(h("p", { class: "problem", role: "alert" }, error.message));
    }
  }
  if (other) compare(other);
  return h("section", { class: "card" }, h("h2", null, "Compare with another record"), h("label", { class: "choice" }, h("span", null, "Other record, same dataset"), select), result);
}

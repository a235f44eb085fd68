// Every column of the table: what it shows, how it sorts, what its header means.

import { badges, number, roundUp, score, standing } from "./data.js";

const metric = (key, label, group, decimals, better, hint, extra = {}) => ({
  key, label, group, better, hint, number: true, width: 92,
  value: (row) => score(row, key),
  text: (row) => number(score(row, key), decimals),
  ...extra,
});

const field = (key, label, group, hint, text, extra = {}) => ({
  key, label, group, hint, width: 100, value: (row) => row[key] ?? null, text: text || ((row) => row[key] ?? ""), ...extra,
});

const ACCURACY = "Accuracy in % on real test images of classifiers trained on synthetic images only. Higher is better. ";

export const COLUMNS = [
  {
    key: "rank", label: "Rank", group: "Standing", fixed: true, width: 74, narrow: 64, number: true,
    hint: "Rank interval among all ranked methods of the cell: the ranks that seeds and test set leave possible. Filters never move it.",
    value: (row) => (row.ranked ? row.rank_best + row.rank_worst / 1e4 : null), text: standing,
  },
  { key: "label", label: "Method", group: "Standing", fixed: true, width: 224, narrow: 146, hint: "Method, variant and public data. Opens its page.", value: (row) => row.label.toLowerCase(), text: (row) => row.label },
  field("dataset", "Dataset", "Task", "The sensitive dataset.", null, { width: 128 }),
  field("epsilon", "ε", "Task", "The privacy budget of the cell.", (row) => `${row.epsilon}`, { number: true, width: 56 }),
  metric("accuracy[noisy-senv]", "Acc, Noisy SenV", "Utility", 1, "high", `${ACCURACY}Epoch chosen privately on a disjoint validation side. Ranks are by this. ± is a 95 % interval over seeds and test set.`, {
    width: 118, narrow: 106,
    text: (row) => (score(row, "accuracy[noisy-senv]") === null ? "" : number(score(row, "accuracy[noisy-senv]"), 1) + (row.half === null || row.half === undefined ? "" : ` ± ${number(row.half, 1)}`)),
  }),
  field("tie", "Group", "Standing", "Tie group: members are not separated from the best of the group.", (row) => (row.ranked ? `${row.tie}` : ""), { number: true, width: 68, value: (row) => (row.ranked ? row.tie : null), empty: (row) => `No group: ${row.kind === "paper" ? "a number from the paper" : row.why}.` }),
  field("level", "Trust", "Standing", "0 self-reported, 1 recomputed, 2 reproduced, 3 audited, 4 reviewed.", null, { width: 122, empty: () => "Numbers of the paper have no trust level here." }),
  { key: "badges", label: "Badges", group: "Standing", width: 220, hint: "How the guarantee is known, which accountant, public data, tuning. Neighbours are a badge only where they are not the track's: one image added or removed.", value: (row) => badges(row).map((b) => b[0]).join(" "), text: (row) => badges(row).map((b) => b[0]).join("; ") },
  metric("accuracy[synv]", "Acc, SynV", "Utility", 1, "high", `${ACCURACY}Epoch chosen on synthetic images.`),
  metric("accuracy[testfix]", "Acc, TestFix", "Utility", 1, "high", `${ACCURACY}The last epoch.`),
  metric("accuracy[senv]", "Acc, SenV", "Utility", 1, "high", `${ACCURACY}Epoch chosen on the test set: not differentially private.`),
  metric("accuracy[unstated]", "Acc, unstated", "Utility", 1, "high", `${ACCURACY}The paper does not say how the epoch was chosen.`, { width: 104 }),
  metric("fid", "FID", "Fidelity", 1, "low", "Fréchet Inception distance to real training images. Lower is better."),
  metric("fd-effnet", "FD-EffNet", "Fidelity", 2, "low", "Fréchet distance in EfficientNet-Lite0 features. Not FID. Lower is better."),
  metric("fd-random", "FD-Random", "Fidelity", 3, "low", "Fréchet distance in random features, for demonstrations. Lower is better."),
  metric("inception-score", "IS", "Fidelity", 2, "high", "Inception score. Higher is better; meant for natural images."),
  metric("precision", "Precision", "Fidelity", 3, "high", "Share of synthetic images on the real manifold. Higher is better."),
  metric("recall", "Recall", "Fidelity", 3, "high", "Share of real images on the synthetic manifold. Higher is better."),
  metric("fld", "FLD", "Fidelity", 2, "low", "Feature likelihood divergence: also punishes copying. Lower is better."),
  metric("image-reward", "IR", "Fidelity", 2, "high", "ImageReward: human preference as a network sees it. Higher is better."),
  field("spent", "ε spent", "Privacy", "ε recomputed from the ledger by the track's accountant, rounded up.", (row) => (row.spent === null ? "" : roundUp(row.spent)), { number: true, width: 80, empty: (row) => (row.kind === "paper" ? "The paper states the target only." : "Not private: ε = ∞.") }),
  field("minutes", "Minutes", "Cost", "Wall-clock minutes of one run, mean over seeds, as submitted. Compare on equal hardware only.", (row) => number(row.minutes, 1), { number: true, width: 84, empty: () => "The paper's cost is for another protocol and hardware." }),
  field("memory", "GiB", "Cost", "Peak memory of one run, as submitted.", (row) => number(row.memory, 1), { number: true, width: 66, empty: () => "Not comparable with the paper's GPU memory." }),
  field("hardware", "Hardware", "Cost", "Where it ran, as submitted.", null, { width: 170, empty: () => "Not stated per result." }),
  field("seeds", "Seeds", "Record", "Whole runs with different seeds. Ranks need three.", (row) => (row.seeds ? `${row.seeds}` : ""), { number: true, width: 66, empty: () => "The paper does not state repetitions." }),
  field("attempts", "Attempts", "Record", "Runs of this method on this task that its author's folder held: choosing the best costs privacy and biases boards.", (row) => (row.attempts ? `${row.attempts}` : ""), { number: true, width: 84, empty: () => "Not stated in the paper." }),
  field("created", "Date", "Record", "Date of the newest record.", (row) => (row.created || "").slice(0, 10), { width: 102, empty: () => "Published 2025." }),
];

export const byKey = new Map(COLUMNS.map((column) => [column.key, column]));

// A score that has no column above, such as a plugin's metric, gets one from its metric's card.
export function addColumns(board) {
  const names = new Set(board.rows.flatMap((row) => Object.keys(row.scores || {})));
  for (const name of names) {
    const [, base, protocol] = /^(.*?)(?:\[(.*)\])?$/.exec(name);
    const card = board.card("metrics", base);
    if (byKey.has(name) || !card) continue;
    const better = card.higher_is_better ? "high" : "low";
    const column = metric(name, protocol ? `${card.title}, ${protocol}` : card.title, "Fidelity", card.decimals, better, `${card.summary} ${card.higher_is_better ? "Higher" : "Lower"} is better.`);
    COLUMNS.splice(COLUMNS.indexOf(byKey.get("image-reward")) + 1, 0, column);
    byKey.set(name, column);
  }
}
const ALWAYS = ["rank", "label"];
const HIDDEN = new Set(["hardware", "attempts", "memory", "spent"]);

// By default: what has a value somewhere in these rows, less the details.
export function defaultColumns(rows, state) {
  const shown = COLUMNS.filter((column) => {
    if (column.key === "dataset") return !state.dataset || state.dataset === "all";
    if (column.key === "epsilon") return !state.eps || state.eps === "all";
    return !HIDDEN.has(column.key) && rows.some((row) => column.text(row) !== "" && column.value(row) !== null);
  });
  return shown.map((column) => column.key);
}

export function chosenColumns(rows, state) {
  const keys = state.cols?.length ? [...ALWAYS, ...state.cols.filter((key) => !ALWAYS.includes(key))] : defaultColumns(rows, state);
  return COLUMNS.filter((column) => keys.includes(column.key) || ALWAYS.includes(column.key));
}

export const arrow = (column) => (column.better === "high" ? " ↑" : column.better === "low" ? " ↓" : "");

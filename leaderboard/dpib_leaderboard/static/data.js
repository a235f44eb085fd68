// The snapshot, read once, as rows; and what is said about a row in words.

const BASE = new URL("../v1/", import.meta.url);
const own = (object, key) => (object && Object.hasOwn(object, key) ? object[key] : undefined);

export const recordUrl = (id) => new URL(`records/${encodeURIComponent(id)}.json`, BASE);
export const gridUrl = (id) => new URL(`grids/${encodeURIComponent(id)}.png`, BASE);

// A server that has only begun to read its store says when to ask again.
export async function fetchJson(url) {
  const answer = await fetch(url);
  const pause = answer.status === 503 ? Number(answer.headers.get("retry-after")) : 0;
  if (pause) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
    return fetchJson(url);
  }
  if (!answer.ok) throw new Error(`The board answered ${answer.status} for ${url.pathname}.`);
  return answer.json();
}

export function rowsOf(columns) {
  const names = Object.keys(columns);
  const count = names.length ? columns[names[0]].length : 0;
  return Array.from({ length: count }, (_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

export class Board {
  constructor(plain) {
    Object.assign(this, plain);
    this.rows = rowsOf(plain.rows);
    this.records = rowsOf(plain.records);
    this.rows.forEach((row, i) => {
      row.order = i;
      row.label = label(row);
      row.haystack = [row.label, row.method, row.dataset, row.family, row.noise, row.public, row.hardware].join(" ").toLowerCase();
      row.half = row.low === null ? null : (row.high - row.low) / 2;
    });
    this.tracks = new Map();
    this.recordById = new Map(this.records.map((record) => [record.id, record]));
  }

  static async load() {
    return new Board(await fetchJson(new URL("board.json", BASE)));
  }

  card(kind, name) {
    return own(this.cards[kind], name);
  }

  title(kind, name) {
    return this.card(kind, name)?.title || name;
  }

  // Tracks with reviewed rows first, then the published numbers, then those with unreviewed rows only.
  trackNames() {
    const reviewed = new Set(this.rows.filter((row) => row.level !== 0).map((row) => row.track));
    const place = (name) => (!reviewed.has(name) ? 9 : name === this.published_track ? 7 : name.startsWith("demo") ? 5 : 0);
    return [...new Set(this.rows.map((row) => row.track))].sort((a, b) => place(a) - place(b) || a.localeCompare(b));
  }

  // Rows of a track, with the paper's rows of the same dataset and ε beside them.
  inTrack(track) {
    if (!this.tracks.has(track)) this.tracks.set(track, this.#inTrack(track));
    return this.tracks.get(track);
  }

  #inTrack(track) {
    const cells = new Set(this.rows.filter((row) => row.track === track).map(cellOf));
    return this.rows.filter((row) => row.track === track || (row.track === this.published_track && cells.has(cellOf(row))));
  }
}

const cellOf = (row) => `${row.dataset} ${row.epsilon}`;

function label(row) {
  const parts = [row.title || row.method];
  if (row.variant) parts.push(row.variant);
  if (row.preludes) parts.push(`+ ${row.preludes}`);
  if (row.public && row.public !== "none") parts.push(`+ ${row.public}`);
  if (row.pretrain === "unconditional") parts.push("unconditional");
  if (row.tuned) parts.push(row.overrides ? `(tuned: ${row.overrides})` : "(tuned)");
  return parts.join(" ");
}

export const score = (row, name) => own(row.scores, name) ?? null;

export function number(value, decimals = 1) {
  return value === null || value === undefined ? "" : Number(value).toFixed(decimals);
}

// ε as a promise is printed: four significant digits, never below the value.
export function roundUp(value) {
  const nearest = Number(value.toPrecision(4));
  const step = 10 ** (Math.floor(Math.log10(value)) - 3);
  return `${nearest < value ? Number((nearest + step).toPrecision(4)) : nearest}`;
}

export function standing(row) {
  if (row.ranked) return row.rank_best === row.rank_worst ? `${row.rank_best}` : `${row.rank_best}–${row.rank_worst}`;
  return row.kind === "paper" ? "paper" : row.kind === "reference" ? "ref." : "–";
}

// The same where there is room to say why a method has no rank.
export const standingWords = (row) => (row.kind === "run" && !row.ranked ? `none: ${row.why}` : standing(row));

export function standingHint(row, board) {
  if (row.kind === "paper") return `Printed in the paper; never ranked here. ${row.note}`;
  if (!row.ranked) return `Not ranked: ${row.why}.`;
  const text = row.rank_best === row.rank_worst ? `Rank ${row.rank_best}` : `Somewhere from rank ${row.rank_best} to ${row.rank_worst}`;
  return `${text} in this cell, over all methods of the board. Group ${row.tie}: seeds and test set do not separate its members from their best.`;
}

const PARTS = { "precision-recall": ["precision", "recall"] };

// The names of the scores that a metric gives: its own, or those of its parts.
export const scoresOf = (metric) => own(PARTS, metric) || [metric];

// Why a cell is empty.
export function whyEmpty(row, name, board) {
  const reason = own(row.undefined, name);
  if (reason) return `Undefined: ${reason}`;
  if (row.kind === "paper") return "The paper prints no such number for this dataset and ε.";
  if (isEnded(row)) return row.why;
  if (row.level === 0) return "Self-reported: scores are shown once they are recomputed.";
  const metrics = board.card("tracks", row.track)?.metrics || [];
  const metric = name.replace(/\[.*$/, "");
  return metrics.some((one) => scoresOf(one).includes(metric)) ? "Its records hold no value." : `Not measured in this track (${board.title("tracks", row.track)}).`;
}

const FAMILIES = { "mean-embedding": "Mean embedding", gan: "GAN", diffusion: "Diffusion", "latent-diffusion": "Latent diffusion", "foundation-api": "Foundation model API", reference: "Reference" };
const NOISE = { input: "noise on the input", model: "noise on the model", output: "noise on the output", mix: "noise in several places" };

export const familyOf = (card) => own(FAMILIES, card.family) || card.family;
export const noiseOf = (card) => own(NOISE, card.noise_location || card.noise) || card.noise_location || card.noise || "no noise";

// Self-reported rows are hidden unless asked for; a claim that was refuted or withdrawn is always shown.
const isEnded = (row) => Boolean(row.negatives?.some((one) => one.state !== "stale"));
export const isHidden = (row) => row.level === 0 && !isEnded(row);

export const GRAVE = ["refuted", "unsupported", "stale", "withdrawn", "tuned", "declared", "not private", "check failed"];

export function badges(row) {
  const found = (row.negatives || []).map((one) => [one.state, one.words]);
  const words = {
    mechanism: ["mechanism", "Every access went through a mechanism of the harness, which added the noise itself."],
    "no-access": ["no access", "Reads no private image at all."],
    declared: ["declared", "The author declares the price of some accesses; the harness cannot check it."],
    "non-private": ["not private", "Reads private images without protection: a ceiling, ε = ∞."],
    published: ["published", "A number from the paper. Nothing was recomputed here."],
  };
  const known = own(words, row.assurance);
  if (known) found.push(known);
  if (row.public && row.public !== "none") found.push(["public data", `Pretrained on public images: ${row.public}.`]);
  if (row.kind === "paper" && row.pretraining !== "none") found.push(["public data", "Pretrained on public images in the paper."]);
  if (row.tuned) found.push(["tuned", "Settings differ from the preset; what tuning cost is not in ε."]);
  if (row.relation && row.relation !== "add-or-remove-one") found.push([row.relation, "Another neighbouring relation than the track's."]);
  if (row.accountant) found.push([/\bPLD\b/.test(row.accountant) ? "PLD" : "accountant", `ε by ${row.accountant}.`]);
  if (row.check) found.push([row.check.passed ? "checked" : "check failed", `${row.check.words}.`]);
  if (row.float_safe) found.push(["float-safe", "Its noise withstands floating-point attacks."]);
  return found;
}

// How to read this board, and how to submit.

import { copyButton, h, link, simpleTable } from "./dom.js";

const part = (title, ...content) => h("section", { class: "card" }, h("h2", null, title), content);
const p = (...content) => h("p", null, content);

export function howToRead(board) {
  return h(
    "section",
    { class: "prose" },
    h("h1", null, "How to read this board"),
    h("p", { class: "lead" }, "Two rows can be compared when track, dataset and ε agree. Everything else is on this page."),
    part(
      "Privacy",
      p("Differential privacy bounds what anyone can learn about a single training image from the synthetic set. ε is that bound: at ε = 1 the odds of any conclusion change by at most a factor of about 2.7 when one image is added or removed, at ε = 10 by about 22,000. δ is a small slack in that bound, 1/(N₀ ln N₀) for a training side of nominal size N₀."),
      p("ε is computed from a ledger of every access to private images, by privacy loss distributions; a second accountant's value stands beside it. The unit is one image: several images of one person are not protected together."),
      p("The guarantee covers the images. It does not cover the scores, which compare with real images exactly, nor the tuning of presets."),
    ),
    part(
      "Accuracy and its protocols",
      simpleTable("Protocols", ["Column", "Which epoch of the classifier is reported", "Private"], [
        ["Noisy SenV", "chosen privately on a disjoint validation side; ranks are by this", "yes"],
        ["SynV", "chosen on held-out synthetic images", "yes"],
        ["TestFix", "the last", "yes"],
        ["SenV", "chosen on the real test set: too good by construction", "no"],
      ]),
      p("Each is the mean over the track's classifiers. The paper prints the best of three."),
    ),
    part(
      "Ranks",
      p(`A cell is one track, dataset and ε. The interval of a mean holds the method's own variation over seeds in that cell, pooled over its settings, and the error of the finite test set. A rank interval lists the ranks that remain possible: 1–3 means at most two methods may be better. A tie group holds the methods that are not surely worse than its best. Methods with fewer than ${board.min_seeds} seeds are shown without a rank.`),
      p("Ranks are computed once, over all methods. Filters, search and sorting never move them. Over a whole track methods are ordered by mean rank over the cells at the track's own budgets, with an interval from resampling cells; a method that lacks a cell has no mean. A cell at another ε has ranks of its own and counts for nothing over the track."),
      p("The win matrix counts, for two methods, the cells in which one rank interval lies wholly before the other. It appears once three methods are ranked in the same three cells at the track's budgets."),
    ),
    part(
      "Trust levels",
      simpleTable("Trust levels", ["Level", "What was done"], [
        ["0 self-reported", "Nothing was checked. Hidden unless asked for, never ranked."],
        ["1 recomputed", "Scores and ε were recomputed from the submitted images and ledger; the copy test passed."],
        ["2 reproduced", "The maintainers ran the code with three seeds of their own; the results agree."],
        ["3 audited", "Also conformance and a privacy audit that did not refute the claim."],
        ["4 reviewed", "Also a written proof and two named reviewers."],
      ]),
    ),
    part(
      "Rows without a rank",
      p("Uniform noise is the floor, noisy class means the trivial baseline, real images the ceiling without privacy. They stay whatever you filter. Rows marked paper are printed numbers: ", board.card("tracks", board.published_track).summary),
    ),
    part("Empty cells", p("A dot is an empty cell. Point at it, or move to it with the arrow keys, and it says why: not measured in the track, undefined with a reason, or not printed. Empty is never zero.")),
    part("Links and data", p("The address holds the whole view: track, filters, columns, sort. Copy link shares it; CSV, LaTeX and JSON export exactly the rows and columns that are shown. The same data: ", link(new URL("../v1/board.json", import.meta.url), "v1/board.json"), ".")),
  );
}

const commandsTo = (store) => `dpib run mymethod --dataset mnist --epsilon 1 --track lite --seed 0
dpib run mymethod --dataset mnist --epsilon 1 --track lite --seed 1
dpib run mymethod --dataset mnist --epsilon 1 --track lite --seed 2
for run in runs/lite-v1/mnist/mymethod/*; do dpib verify "$run"; done
dpib submit runs/lite-v1/mnist/mymethod --to ${store} --dry-run
dpib submit runs/lite-v1/mnist/mymethod --to ${store}`;

export function howToSubmit(board) {
  const onHub = board.source.startsWith("hf:");
  const commands = commandsTo(onHub ? board.source : "STORE"); // of a folder a board tells readers the name only
  return h(
    "section",
    { class: "prose" },
    h("h1", null, "How to submit"),
    h("p", { class: "lead" }, "Run, verify, submit. What is ranked is recomputed from your images, not taken from your record."),
    part("Commands", h("pre", null, commands), copyButton("Copy", commands), !onHub && p(`STORE is the path of the folder that this board reads; its name is ${board.source}.`)),
    part(
      "What happens",
      h(
        "ol",
        null,
        h("li", null, h("code", null, "dpib submit"), " checks with the same validator as the reviewer, shows your row and where it would rank, and says what becomes public. Nothing is sent with --dry-run."),
        h("li", null, `With your consent it ${onHub ? "opens one pull request per run, which adds one folder" : "copies one folder per run into the store, where a maintainer reviews it"}: record, ledger, sample grid, synthetic images.`),
        h("li", null, "The review recomputes ε from the ledger with two accountants and every score from your images, and looks for copies of training images."),
        h("li", null, "Accepted, the row appears with its trust level. Refused, the report names the reason."),
      ),
    ),
    part("Rules", h("ul", null, h("li", null, "Three seeds for a rank."), h("li", null, "Attempts are counted and shown: choosing the best of many costs privacy."), h("li", null, "A method's name is of the account that sent it first; a changed method of dpib needs a name of its own."), h("li", null, "Nothing is deleted. A record is superseded or invalidated, with a reason."))),
    part("No method yet?", h("pre", null, "dpib new mymethod"), p("writes a plugin package that runs and can be submitted.")),
  );
}

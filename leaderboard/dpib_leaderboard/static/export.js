// Writes exactly the view: the rows in their order, the columns that are shown.

import { score } from "./data.js";
import { emptyReason } from "./table.js";

const FORMULA = /^[=+\-@\t\r\0＝＋－＠]/u;

// A spreadsheet runs text that begins like a formula; a quote in front keeps it text. Numbers stay numbers.
export function safeText(text) {
  return FORMULA.test(text) ? `'${text}` : text;
}

const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function value(row, column) {
  if (column.key === "label") return row.label;
  if (column.key === "rank") return column.text(row);
  if (column.key === "epsilon") return row.epsilon;
  if (column.number) return column.value(row);
  return column.text(row);
}

export function toCsv(rows, columns) {
  const extra = columns.some((column) => column.key === "accuracy[noisy-senv]") ? ["low", "high"] : [];
  const cell = (item) => (typeof item === "number" ? String(item) : quoted(safeText(String(item ?? ""))));
  const head = [...columns.map((column) => column.key), "kind", ...extra];
  const lines = rows.map((row) => [...columns.map((column) => value(row, column)), row.kind, ...extra.map((name) => row[name])]);
  return [head, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

const LATEX = { "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", $: "\\$", "#": "\\#", _: "\\_", "{": "\\{", "}": "\\}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "–": "--", "ε": "$\\varepsilon$", "↑": "$\\uparrow$", "↓": "$\\downarrow$" };
const latex = (text) => String(text).replace(/[\\&%$#_{}~^±–ε↑↓]/gu, (sign) => LATEX[sign]);

export function toLatex(rows, columns, caption) {
  const arrow = { high: " ↑", low: " ↓" };
  const line = (cells) => `${cells.map(latex).join(" & ")} \\\\`;
  return [
    `% ${caption.replace(/\s+/g, " ")}`,
    `\\begin{tabular}{${columns.map((column) => (column.number ? "r" : "l")).join("")}}`,
    "\\hline",
    line(columns.map((column) => column.label + (arrow[column.better] || ""))),
    "\\hline",
    ...rows.map((row) => line(columns.map((column) => column.text(row)))),
    "\\hline",
    "\\end{tabular}",
    "",
  ].join("\n");
}

export function toJson(rows, columns, board, address) {
  const view = rows.map((row) => {
    const missing = {};
    const cells = columns.map((column) => {
      const item = value(row, column) ?? null;
      if (item === null || item === "") missing[column.key] = emptyReason(row, column, board);
      return [column.key, item === "" ? null : item];
    });
    const interval = score(row, "accuracy[noisy-senv]") === null ? {} : { low: row.low, high: row.high };
    return { ...Object.fromEntries(cells), kind: row.kind, ...interval, records: row.records || [], missing };
  });
  return `${JSON.stringify({ snapshot: board.digest, built: board.built, address, rows: view }, null, 1)}\n`;
}

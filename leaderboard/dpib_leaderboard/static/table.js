// The table widget: fixed first columns, sort, keyboard, and rows made only while they are in view.

import { arrow } from "./columns.js";
import { GRAVE, badges, standingHint, whyEmpty } from "./data.js";
import { h, link } from "./dom.js";
import { format } from "./state.js";

const ROW = 40;
const SPARE = 12;
const NARROW = window.matchMedia("(max-width: 700px)");
const width = (column) => (NARROW.matches && column.narrow) || column.width;

export function sortRows(rows, sort, columns) {
  const [key, direction] = (sort || "").split(":");
  const column = columns.find((one) => one.key === key);
  if (!column) return rows;
  const sign = direction === "desc" ? -1 : 1;
  const keyed = rows.map((row) => [column.value(row), row]);
  keyed.sort(([a, x], [b, y]) => {
    if (a === b) return x.order - y.order;
    if (a === null || a === "") return 1;
    if (b === null || b === "") return -1;
    return sign * (a < b ? -1 : 1);
  });
  return keyed.map(([, row]) => row);
}

export function emptyReason(row, column, board) {
  return column.empty ? column.empty(row) : column.key.includes("[") || column.group === "Fidelity" ? whyEmpty(row, column.key, board) : "Not recorded.";
}

function cellContent(row, column, board) {
  if (column.key === "label") {
    return link(format("method", row.method), row.label, { tabindex: "-1" });
  }
  if (column.key === "level" && row.level !== null) return h("span", { class: `trust t${row.level}` }, `${row.level} ${board.levels[row.level]}`);
  if (column.key === "badges") return badges(row).map(([name, hint]) => h("span", { class: `badge ${GRAVE.includes(name) ? "warn" : ""}`, "data-hint": hint }, name));
  if (column.key === "created" && row.records?.length) return link(format("record", row.records[0]), column.text(row), { tabindex: "-1" });
  return column.text(row);
}

export class Table {
  constructor(board, { onSort, caption }) {
    Object.assign(this, { board, onSort, rows: [], columns: [], from: -1, to: -1, at: [0, 0] });
    this.head = h("tr", { role: "row" });
    this.cols = h("colgroup");
    this.body = h("tbody", { on: { keydown: (event) => this.move(event), focusin: (event) => this.remember(event) } });
    this.table = h("table", { class: "board", role: "grid", "aria-label": caption }, this.cols, h("thead", null, this.head), this.body);
    this.element = h("div", { class: "viewport", tabindex: "-1", on: { scroll: () => this.paint() } }, this.table);
    this.nothing = h("p", { class: "nothing", hidden: true }, "No row matches. Clear the search or a filter.");
    new ResizeObserver(() => this.paint(true)).observe(this.element);
  }

  set(rows, columns, sort) {
    const same = columns.length === this.columns.length && columns.every((one, i) => one === this.columns[i]) && sort === this.sort;
    Object.assign(this, { rows, columns, sort });
    if (!same) this.header();
    this.table.setAttribute("aria-rowcount", rows.length + 1);
    this.nothing.hidden = rows.length > 0;
    this.at = [Math.min(this.at[0], Math.max(0, rows.length - 1)), Math.min(this.at[1], columns.length - 1)];
    this.paint(true);
  }

  header() {
    const [key, direction] = (this.sort || "").split(":");
    let left = 0;
    this.cols.replaceChildren(...this.columns.map((column) => h("col", { style: { width: `${width(column)}px` } })));
    this.table.style.width = `${this.columns.reduce((sum, column) => sum + width(column), 0)}px`;
    this.head.replaceChildren(
      ...this.columns.map((column) => {
        const on = key === column.key;
        const next = !on ? (column.better === "high" ? "desc" : "asc") : direction === "asc" ? "desc" : "asc";
        const button = h(
          "button",
          { type: "button", "data-hint": column.hint, on: { click: () => this.onSort(`${column.key}:${next}`) } },
          column.label, h("span", { class: "arrow", "aria-hidden": true }, on ? (direction === "desc" ? " ▼" : " ▲") : arrow(column)),
        );
        const cell = h("th", { scope: "col", role: "columnheader", "data-column": column.key, class: this.classes(column), "aria-sort": on ? (direction === "desc" ? "descending" : "ascending") : "none" }, button);
        if (column.fixed) cell.style.left = `${left}px`;
        if (column.fixed) left += width(column);
        return cell;
      }),
    );
  }

  classes(column) {
    return [column.number ? "number" : "", column.fixed ? "fixed" : "", column.key === "label" ? "last-fixed" : ""].join(" ").trim() || null;
  }

  // Makes the rows in view, and a spare dozen on either side.
  paint(force = false) {
    const top = this.element.scrollTop;
    const height = this.element.clientHeight || 600;
    const from = Math.max(0, Math.floor(top / ROW) - SPARE);
    const to = Math.min(this.rows.length, Math.ceil((top + height) / ROW) + SPARE);
    if (!force && from === this.from && to === this.to) return;
    Object.assign(this, { from, to });
    const hadFocus = this.body.contains(this.body.getRootNode().activeElement);
    const space = (rows) => h("tr", { class: "space", "aria-hidden": true, style: { height: `${rows * ROW}px` } }, h("td", { colspan: this.columns.length }));
    this.body.replaceChildren(space(from), ...this.rows.slice(from, to).map((row, i) => this.row(row, from + i)), space(this.rows.length - to));
    if (hadFocus) this.focus(false);
  }

  row(row, index) {
    let left = 0;
    const cells = this.columns.map((column, j) => {
      const content = cellContent(row, column, this.board);
      const empty = content === "" || content === null || (Array.isArray(content) && !content.length);
      const hint = empty ? emptyReason(row, column, this.board) : column.key === "rank" ? standingHint(row, this.board) : column.key === "badges" ? badges(row).map(([name, text]) => `${name}: ${text}`).join(" ") : column.key === "label" ? [row.label, row.note].filter(Boolean).join(". ") : null;
      const cell = h(
        column.key === "label" ? "th" : "td",
        { role: column.key === "label" ? "rowheader" : "gridcell", scope: column.key === "label" ? "row" : null, class: this.classes(column), tabindex: index === this.at[0] && j === this.at[1] ? "0" : "-1", "data-hint": hint, "data-at": `${index},${j}` },
        empty ? h("span", { class: "empty" }, h("span", { "aria-hidden": true }, "·"), h("span", { class: "hidden" }, `empty: ${hint}`)) : content,
      );
      if (column.fixed) cell.style.left = `${left}px`;
      if (column.fixed) left += width(column);
      return cell;
    });
    const group = row.ranked && row.tie % 2 ? "odd" : "";
    return h("tr", { role: "row", class: `${row.kind} ${group} ${row.ranked ? "" : "unranked"}`, "aria-rowindex": index + 2 }, cells);
  }

  remember(event) {
    const at = event.target.closest("[data-at]")?.dataset.at;
    if (at) this.at = at.split(",").map(Number);
  }

  focus(scroll = true) {
    const [i, j] = this.at;
    if (scroll) {
      const top = i * ROW;
      const view = this.element.clientHeight - 2 * ROW;
      if (top < this.element.scrollTop) this.element.scrollTop = top;
      else if (top > this.element.scrollTop + view) this.element.scrollTop = top - view;
      this.paint(true);
    }
    this.body.querySelector(`[data-at="${i},${j}"]`)?.focus({ preventScroll: !scroll });
  }

  move(event) {
    const steps = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [10, 0], PageUp: [-10, 0], Home: [-1e9, 0], End: [1e9, 0] };
    if (event.key === "Enter" && event.target.matches("[data-at]")) event.target.querySelector("a")?.click();
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const clamp = (value, top) => Math.max(0, Math.min(top, value));
    this.at = [clamp(this.at[0] + step[0], this.rows.length - 1), clamp(this.at[1] + step[1], this.columns.length - 1)];
    this.focus();
  }
}

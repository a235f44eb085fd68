// <dpib-board>: the whole board as one custom element. The Gradio page and a static copy hold the same one.

import { addColumns } from "./columns.js";
import { Board } from "./data.js";
import { h, installHints, link } from "./dom.js";
import { comparePage } from "./page_compare.js";
import { howToRead, howToSubmit } from "./page_help.js";
import { datasetPage, metricPage, methodPage } from "./page_cards.js";
import { overviewPage } from "./page_overview.js";
import { recordPage } from "./page_record.js";
import { tablePage } from "./page_table.js";
import { format, parse } from "./state.js";

const PAGES = {
  overview: overviewPage,
  table: tablePage,
  compare: comparePage,
  method: methodPage,
  dataset: datasetPage,
  metric: metricPage,
  record: recordPage,
  read: howToRead,
  submit: howToSubmit,
};
const MENU = [["overview", "Overview"], ["table", "Results"], ["compare", "Compare"], ["method", "Methods"], ["dataset", "Datasets"], ["metric", "Metrics"], ["read", "How to read"], ["submit", "Submit"]];
const THEMES = ["system", "light", "dark"];

const snapshot = Board.load();
snapshot.catch(() => {});

class DpibBoard extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    const style = h("link", { rel: "stylesheet", href: new URL("board.css", import.meta.url) });
    this.main = h("main", { id: "main", tabindex: "-1" }, h("p", { class: "loading" }, "Loading results…"));
    this.menu = h("nav", { "aria-label": "Pages" }, MENU.map(([page, text]) => link(format(page, ""), text, { "data-page": page })));
    this.foot = h("footer", { role: "contentinfo" });
    const theme = h("button", { type: "button", class: "theme", on: { click: () => this.nextTheme(theme) } });
    const bar = h("header", { role: "banner" }, link("#/", "dpib", { class: "brand" }), this.menu, theme);
    style.addEventListener("load", () => this.removeAttribute("hidden"));
    root.append(style, bar, this.main, this.foot);
    installHints(root);
    this.setTheme(theme, localStorage.getItem("dpib-theme") || "system");
    window.addEventListener("hashchange", () => this.show(true));
    this.start();
  }

  async start() {
    try {
      this.board = await snapshot;
      addColumns(this.board);
    } catch (error) {
      this.main.replaceChildren(h("p", { role: "alert", class: "problem" }, `The results could not be loaded. ${error.message} Reload to try again.`));
      return;
    }
    const { board } = this;
    const stale = board.stale ? h("strong", null, `${board.stale} What stands here is the last good snapshot. `) : null;
    this.foot.replaceChildren(h("p", null, stale, `Snapshot ${board.digest.slice(0, 12)} of ${board.built.slice(0, 16).replace("T", " ")} UTC, from ${board.source}. `, link(new URL("../v1/board.json", import.meta.url), "Data as JSON")));
    this.show(false);
  }

  show(moveFocus) {
    if (!this.board) return;
    const { page, argument, state } = parse(window.location.hash);
    const build = Object.hasOwn(PAGES, page) ? PAGES[page] : overviewPage;
    const context = {
      state,
      argument,
      // Goes to an address; without `push` only the address changes, the page stays.
      go: (hash, push) => {
        if (push) window.location.hash = hash;
        else window.history.replaceState(window.history.state, "", hash);
      },
    };
    const control = this.shadowRoot.activeElement?.closest("[data-control]")?.dataset.control;
    this.main.replaceChildren(build(this.board, context));
    if (control) this.main.querySelector(`[data-control="${CSS.escape(control)}"] select`)?.focus();
    for (const item of this.menu.children) {
      if (item.dataset.page === page) item.setAttribute("aria-current", "page");
      else item.removeAttribute("aria-current");
    }
    document.title = `${this.main.querySelector("h1")?.textContent || "Board"} · dpib`;
    if (moveFocus && this.main.dataset.page !== page) {
      this.main.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    this.main.dataset.page = page;
    performance.mark("dpib-shown");
  }

  setTheme(button, theme) {
    if (theme === "system") this.removeAttribute("data-theme");
    else this.setAttribute("data-theme", theme);
    document.documentElement.style.colorScheme = theme === "system" ? "light dark" : theme;
    button.textContent = { system: "◐", light: "☀", dark: "☾" }[theme];
    button.setAttribute("aria-label", `Colours: ${theme}. Change.`);
    this.theme = theme;
  }

  nextTheme(button) {
    const theme = THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length];
    localStorage.setItem("dpib-theme", theme);
    this.setTheme(button, theme);
  }
}

customElements.define("dpib-board", DpibBoard);

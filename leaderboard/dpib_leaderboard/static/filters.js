// Which rows a view shows. Nothing here touches a rank.

import { isHidden } from "./data.js";

export const FILTERS = [
  ["noise", "Noise at", [["input", "input"], ["model", "model"], ["output", "output"], ["mix", "mix"]], (row) => row.noise],
  ["pre", "Public data", [["none", "none"], ["all", "all"], ["selected", "selected"]], (row) => row.pretraining],
  ["family", "Family", [["mean-embedding", "embedding"], ["gan", "GAN"], ["diffusion", "DM"], ["latent-diffusion", "LDM"], ["foundation-api", "API"]], (row) => row.family],
  ["level", "Trust", [["0", "0 self-reported"], ["1", "1"], ["2", "2"], ["3", "3"], ["4", "4"]], (row) => (row.level === null ? null : String(row.level))],
];

// References, and the paper's rows beside ours, stay whatever is filtered; unreviewed rows only come when asked for.
export function visibleRows(board, state, columns) {
  const published = state.track === board.published_track;
  const query = (state.q || "").trim().toLowerCase().split(/\s+/).filter(Boolean);
  const all = (name) => !state[name] || state[name] === "all";
  const [everyDataset, everyEpsilon, epsilon] = [all("dataset"), all("eps"), Number(state.eps)];
  const active = FILTERS.filter(([name]) => state[name]?.length);
  const stays = (row) => row.kind === "reference" || (row.kind === "paper" && !published);
  return board.inTrack(state.track).filter((row) => {
    if (!everyDataset && row.dataset !== state.dataset) return false;
    if (!everyEpsilon && row.epsilon !== epsilon) return false;
    if (isHidden(row) && !state.level?.includes("0")) return false;
    if (stays(row)) return true;
    if (!query.every((word) => row.haystack.includes(word))) return false;
    for (const [name, , , of] of active) {
      if (!state[name].includes(of(row)) && !(name === "level" && row.kind === "paper")) return false;
    }
    return !state.complete || columns.every((column) => column.group !== "Utility" && column.group !== "Fidelity" ? true : column.value(row) !== null);
  });
}

// Small SVG plots. Every one has a table alternative beside it and labels its lines, so colour is never alone.

import { h, s, simpleTable } from "./dom.js";

const COLOURS = 8;
const DASHES = ["", "6 3", "2 3"];
const NARROW = window.matchMedia("(max-width: 700px)");

function ticks(low, high, count = 5) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-9; at += step) found.push(Number(at.toFixed(10)));
  return found;
}

// 1, 2 and 5 of every decade between two logarithms; finer where less than a decade is shown.
function decades(low, high) {
  if (high - low < 0.7) return ticks(10 ** low, 10 ** high, 4);
  const found = [];
  for (let power = Math.floor(low); power <= high; power += 1) for (const n of [1, 2, 5]) found.push(n * 10 ** power);
  return found.filter((at) => Math.log10(at) >= low && Math.log10(at) <= high);
}

// Labels that would overlap are moved apart, in order.
function spread(labels, gap, top, bottom) {
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((one, i) => (one.y = Math.max(one.y, i ? labels[i - 1].y + gap : top)));
  for (let i = labels.length - 1; i >= 0; i -= 1) labels[i].y = Math.min(labels[i].y, i === labels.length - 1 ? bottom : labels[i + 1].y - gap);
  return labels;
}

const shorten = (text, length = 22) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
const extent = (values) => [Math.min(...values), Math.max(...values)];

// Axes, their ticks and titles; a narrow screen gets a smaller picture with the same letters.
function frame({ right, height, xTicks, yTicks, xLabel, yLabel }) {
  const [width, left, top, bottom] = [NARROW.matches ? 400 : 640, 46, 14, 42];
  const box = { width, height, left, top, x0: left, x1: width - right, y0: top, y1: height - bottom };
  box.axes = (x, y) => [
    yTicks.map((at) => [s("line", { x1: left, x2: box.x1, y1: y(at), y2: y(at), class: "grid" }), s("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, at)]),
    xTicks.map((at) => s("text", { x: x(at), y: box.y1 + 18, "text-anchor": "middle" }, Number(at.toPrecision(6)))),
    s("text", { x: (left + box.x1) / 2, y: height - 6, "text-anchor": "middle", class: "axis" }, xLabel),
    s("text", { x: 12, y: (top + box.y1) / 2, "text-anchor": "middle", class: "axis", transform: `rotate(-90 12 ${(top + box.y1) / 2})` }, yLabel),
  ];
  return box;
}

// The table is made when it is opened: with thousands of points it is the slow part.
function figure(title, box, content, caption, table) {
  const details = h("details", { on: { toggle: () => details.open && !details.querySelector("table") && details.append(table()) } }, h("summary", null, "The same as a table"));
  const picture = s("svg", { viewBox: `0 0 ${box.width} ${box.height}`, width: box.width, height: box.height, role: "img", "aria-label": `${title}. The same as a table follows.`, class: "plot" }, content);
  return h("figure", { class: "drawn" }, picture, caption && h("figcaption", null, caption), details);
}

// Lines of {name, points: [{x, y, low, high}], level} over ordered x values; a `level` is a horizontal reference.
export function curves(title, xs, lines, { xLabel, yLabel, unit = "" }) {
  const values = lines.flatMap((line) => (line.level !== undefined ? [line.level] : line.points.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y])));
  if (!values.length) return h("p", { class: "nothing" }, "Nothing to draw yet.");
  const [low, high] = [Math.max(0, Math.min(...values) - 3), Math.max(...values) + 2];
  const box = frame({ right: NARROW.matches ? 150 : 190, height: 330, xTicks: xs, yTicks: ticks(low, high), xLabel, yLabel });
  const x = (value) => box.x0 + ((xs.indexOf(value) + 0.5) / xs.length) * (box.x1 - box.x0);
  const y = (value) => box.y0 + ((high - value) / (high - low)) * (box.y1 - box.y0);
  const parts = box.axes(x, y);
  const labels = [];
  lines.forEach((line, i) => {
    if (line.level !== undefined) {
      parts.push(s("line", { x1: box.x0, x2: box.x1, y1: y(line.level), y2: y(line.level), class: "level" }));
      labels.push({ from: [box.x1, y(line.level)], y: y(line.level), text: line.name, tone: "reference" });
      return;
    }
    const tone = `c${i % COLOURS}`;
    const dash = DASHES[Math.floor(i / COLOURS) % DASHES.length];
    const points = [...line.points].sort((a, b) => xs.indexOf(a.x) - xs.indexOf(b.x));
    const group = s("g", { class: `series ${tone}` }, s("title", null, `${line.name}: ${points.map((p) => `${p.y.toFixed(1)}${unit} at ${p.x}`).join(", ")}`));
    group.append(s("polyline", { points: points.map((p) => `${x(p.x)},${y(p.y)}`).join(" "), "stroke-dasharray": dash || null }));
    for (const p of points) {
      if (p.low !== undefined && p.low !== null) group.append(s("line", { x1: x(p.x), x2: x(p.x), y1: y(p.low), y2: y(p.high), class: "whisker" }));
      group.append(s("circle", { cx: x(p.x), cy: y(p.y), r: 3.2 }));
    }
    parts.push(group);
    labels.push({ from: [x(points.at(-1).x) + 6, y(points.at(-1).y)], y: y(points.at(-1).y), text: line.name, tone });
  });
  for (const { from, y: at, text, tone } of spread(labels, 14, box.y0 + 4, box.y1)) {
    parts.push(s("polyline", { points: `${from} ${box.x1 + 8},${at} ${box.x1 + 12},${at}`, class: `leader ${tone}` }));
    parts.push(s("text", { x: box.x1 + 16, y: at + 4, class: `label ${tone}` }, shorten(text, NARROW.matches ? 19 : 25)));
  }
  const told = (p) => (p ? `${p.y.toFixed(1)}${p.low === undefined || p.low === null ? "" : ` (${p.low.toFixed(1)} to ${p.high.toFixed(1)})`}` : "");
  const rows = lines.map((line) => [line.name, ...xs.map((value) => (line.level !== undefined ? line.level.toFixed(1) : told(line.points.find((p) => p.x === value))))]);
  const whiskers = lines.some((line) => line.points?.some((p) => p.low !== undefined && p.low !== null));
  const caption = [whiskers && "Bars are 95 % intervals over seeds and test set.", low > 0 && "The vertical axis does not begin at zero."].filter(Boolean).join(" ");
  return figure(title, box, parts, caption, () => simpleTable(title, [yLabel, ...xs.map((value) => `${xLabel} ${value}`)], rows));
}

// Where a name may stand beside its point, best place first: [dx, dy, anchor].
const PLACES = [[9, 4, "start"], [-9, 4, "end"], [0, -10, "middle"], [0, 19, "middle"], [9, -9, "start"], [9, 17, "start"], [-9, -9, "end"], [-9, 17, "end"]];
const LETTER = 6.6;
const MOST_NAMES = 40;

// Gives the first points a place for their name that covers no other name or point; null where there is none.
function placed(points, box) {
  const taken = points.map(({ at: [x, y] }) => [x - 5, y - 5, x + 5, y + 5]);
  const free = (area) => area[0] >= box.x0 && area[2] <= box.width && area[1] >= 0 && area[3] <= box.y1 + 2 && !taken.some((one) => one[0] < area[2] && area[0] < one[2] && one[1] < area[3] && area[1] < one[3]);
  return points.map(({ at: [x, y], text }, i) => {
    if (i >= MOST_NAMES) return null;
    const long = text.length * LETTER;
    for (const [dx, dy, anchor] of PLACES) {
      const left = x + dx - (anchor === "end" ? long : anchor === "middle" ? long / 2 : 0);
      const area = [left, y + dy - 10, left + long, y + dy + 3];
      if (!free(area)) continue;
      taken.push(area);
      return { x: x + dx, y: y + dy, anchor };
    }
    return null;
  });
}

// The points that no other of the same group is better than on both axes.
function frontOf(points, groupOf) {
  const leaders = new Map();
  const found = new Set();
  for (const p of points.filter((one) => !one.reference).sort((a, b) => a.x - b.x || b.y - a.y)) {
    const leader = leaders.get(groupOf(p));
    if (leader && (p.y < leader.y || (p.y === leader.y && p.x > leader.x))) continue;
    leaders.set(groupOf(p), p);
    found.add(p);
  }
  return found;
}

// Points of {name, x, y, hardware, reference}, small x and large y being good, on a logarithmic or linear x axis.
// The front is drawn among methods, one for each hardware: what ran elsewhere costs something else.
export function scatter(title, points, { xLabel, yLabel, log = false, perHardware = false }) {
  const groupOf = (p) => (perHardware ? p.hardware : "");
  const front = frontOf(points, groupOf);
  const scale = (value) => (log ? Math.log10(Math.max(value, 1e-3)) : value);
  const [lowest, highest] = extent(points.map((p) => scale(p.x)));
  const [least, most] = extent(points.map((p) => p.y));
  const pad = (highest - lowest || 1) * 0.08;
  const [x0, x1, y0, y1] = [lowest - pad, highest + pad, Math.max(0, least - 3), most + 3];
  const box = frame({ right: 20, height: 300, xTicks: log ? decades(x0, x1) : ticks(Math.max(0, x0), x1), yTicks: ticks(y0, y1), xLabel, yLabel });
  const x = (value) => box.x0 + ((scale(value) - x0) / (x1 - x0)) * (box.x1 - box.x0);
  const y = (value) => box.y0 + ((y1 - value) / (y1 - y0)) * (box.y1 - box.y0);
  const marks = points.map((p) => ({ p, at: [x(p.x), y(p.y)], text: shorten(p.name, NARROW.matches ? 18 : 22), best: front.has(p) })).sort((a, b) => b.best - a.best || b.p.y - a.p.y);
  const fronts = [...Map.groupBy(marks.filter((mark) => mark.best), (mark) => groupOf(mark.p)).values()].map((marked) => marked.map((mark) => mark.at).sort((a, b) => a[0] - b[0]));
  const steps = (line) => line.flatMap(([px, py], i) => (i ? [[px, line[i - 1][1]], [px, py]] : [[px, py]])).join(" ");
  const names = placed(marks, box);
  const content = [
    box.axes(x, y),
    fronts.filter((line) => line.length > 1).map((line) => s("polyline", { points: steps(line), class: "front" })),
    marks.map(({ p, at, best: first }) => s("circle", { cx: at[0], cy: at[1], r: 5, class: `dot${first ? " best" : ""}${p.reference ? " reference" : ""}` }, s("title", null, `${p.name}: ${p.y.toFixed(1)} at ${p.x}`))),
    marks.map(({ text, best: first }, i) => names[i] && s("text", { x: names[i].x, y: names[i].y, "text-anchor": names[i].anchor, class: `label${first ? " best" : ""}` }, text)),
  ];
  const kinds = perHardware ? new Set(points.map((p) => p.hardware)).size : 1;
  const caption = [
    `Filled: on the Pareto front, no other method is better on both${kinds > 1 ? " on the same hardware" : ""}.`,
    points.some((p) => p.reference) && " Dashed: a reference, outside the front.",
    names.includes(null) && " Points without room for a name are in the table.",
  ].filter(Boolean).join("");
  const rows = marks.map(({ p, best: first }) => [p.name, `${Number(p.x.toPrecision(4))}`, p.y.toFixed(1), first ? "yes" : p.reference ? "reference" : "no", ...(perHardware ? [p.hardware || ""] : [])]);
  return figure(title, box, content, caption, () => simpleTable(title, ["Method", xLabel, yLabel, "On the front", ...(perHardware ? ["Hardware"] : [])], rows));
}

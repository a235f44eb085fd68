// Small SVG plots. Every one has a table alternative beside it and labels its lines, so colour is never alone.

import { h, s, simpleTable } from "./dom.js";

const COLOURS = 8;
const DASHES = ["", "6 3", "2 3"];

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

function frame(title, width, height, content) {
  return s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, class: "plot" }, s("title", null, title), content);
}

const shorten = (text, length = 22) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

// Lines of {name, points: [{x, y, low, high}], level} over ordered x values; a `level` is a horizontal reference.
export function curves(title, xs, lines, { xLabel, yLabel, unit = "" }) {
  const [width, height, left, right, top, bottom] = [640, 330, 46, 176, 14, 42];
  const values = lines.flatMap((line) => (line.level !== undefined ? [line.level] : line.points.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y])));
  if (!values.length) return h("p", { class: "nothing" }, "Nothing to draw yet.");
  const [low, high] = [Math.max(0, Math.min(...values) - 3), Math.max(...values) + 2];
  const x = (value) => left + ((xs.indexOf(value) + 0.5) / xs.length) * (width - left - right);
  const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
  const parts = ticks(low, high).map((at) => [s("line", { x1: left, x2: width - right, y1: y(at), y2: y(at), class: "grid" }), s("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, at)]);
  parts.push(xs.map((value) => s("text", { x: x(value), y: height - bottom + 18, "text-anchor": "middle" }, value)));
  parts.push(s("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle", class: "axis" }, xLabel));
  parts.push(s("text", { x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle", class: "axis", transform: `rotate(-90 12 ${(top + height - bottom) / 2})` }, yLabel));
  const labels = [];
  lines.forEach((line, i) => {
    const tone = line.level !== undefined ? "reference" : `c${i % COLOURS}`;
    if (line.level !== undefined) {
      parts.push(s("line", { x1: left, x2: width - right, y1: y(line.level), y2: y(line.level), class: "level" }));
      labels.push({ y: y(line.level), text: line.name, tone });
      return;
    }
    const dash = DASHES[Math.floor(i / COLOURS) % DASHES.length];
    const points = [...line.points].sort((a, b) => xs.indexOf(a.x) - xs.indexOf(b.x));
    const group = s("g", { class: `series ${tone}` }, s("title", null, `${line.name}: ${points.map((p) => `${p.y.toFixed(1)}${unit} at ${p.x}`).join(", ")}`));
    group.append(s("polyline", { points: points.map((p) => `${x(p.x)},${y(p.y)}`).join(" "), "stroke-dasharray": dash || null }));
    for (const p of points) {
      if (p.low !== undefined && p.low !== null) group.append(s("line", { x1: x(p.x), x2: x(p.x), y1: y(p.low), y2: y(p.high), class: "whisker" }));
      group.append(s("circle", { cx: x(p.x), cy: y(p.y), r: 3.2 }));
    }
    parts.push(group);
    labels.push({ y: y(points.at(-1).y), text: line.name, tone });
  });
  for (const label of spread(labels, 14, top + 4, height - bottom)) parts.push(s("text", { x: width - right + 8, y: label.y + 4, class: `label ${label.tone}` }, shorten(label.text)));
  const rows = lines.map((line) => [line.name, ...xs.map((value) => (line.level !== undefined ? line.level.toFixed(1) : (line.points.find((p) => p.x === value)?.y.toFixed(1) ?? "")))]);
  return h("figure", null, frame(title, width, height, parts), h("details", null, h("summary", null, "The same as a table"), simpleTable(title, [yLabel, ...xs.map((value) => `${xLabel} ${value}`)], rows)));
}

// Points of {name, x, y} on a logarithmic or linear x axis; those on the frontier are filled.
export function scatter(title, points, { xLabel, yLabel, log = false }) {
  const [width, height, left, right, top, bottom] = [640, 300, 46, 20, 14, 42];
  if (points.length < 2) return h("p", { class: "nothing" }, "Two methods with both numbers are needed to draw this.");
  const scale = (value) => (log ? Math.log10(Math.max(value, 1e-3)) : value);
  const xs = points.map((p) => scale(p.x));
  const ys = points.map((p) => p.y);
  const pad = (Math.max(...xs) - Math.min(...xs) || 1) * 0.06;
  const [x0, x1, y0, y1] = [Math.min(...xs) - pad, Math.max(...xs) + pad, Math.max(0, Math.min(...ys) - 3), Math.max(...ys) + 3];
  const x = (value) => left + ((scale(value) - x0) / (x1 - x0)) * (width - left - right);
  const y = (value) => top + ((y1 - value) / (y1 - y0)) * (height - top - bottom);
  const marks = log ? decades(x0, x1) : ticks(x0, x1);
  const best = (p) => !points.some((q) => q !== p && q.x <= p.x && q.y >= p.y && (q.x < p.x || q.y > p.y));
  const labels = spread(points.map((p) => ({ p, y: y(p.y), text: p.name })), 12, top, height - bottom);
  const parts = [
    ticks(y0, y1).map((at) => [s("line", { x1: left, x2: width - right, y1: y(at), y2: y(at), class: "grid" }), s("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, at)]),
    marks.map((at) => s("text", { x: x(at), y: height - bottom + 18, "text-anchor": "middle" }, Number(at.toPrecision(6)))),
    s("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle", class: "axis" }, xLabel),
    s("text", { x: 12, y: height / 2, "text-anchor": "middle", class: "axis", transform: `rotate(-90 12 ${height / 2})` }, yLabel),
    labels.map(({ p, y: at, text }) => [s("circle", { cx: x(p.x), cy: y(p.y), r: 5, class: best(p) ? "dot best" : "dot" }, s("title", null, `${p.name}: ${p.y.toFixed(1)} at ${p.x}`)), s("text", { x: x(p.x) + (x(p.x) > width * 0.6 ? -9 : 9), y: at + 4, class: "label", "text-anchor": x(p.x) > width * 0.6 ? "end" : "start" }, shorten(text))]),
  ];
  return h("figure", null, frame(title, width, height, parts), h("figcaption", null, "Filled: no other method is better on both."), h("details", null, h("summary", null, "The same as a table"), simpleTable(title, ["Method", xLabel, yLabel], points.map((p) => [p.name, p.x, p.y.toFixed(1)]))));
}

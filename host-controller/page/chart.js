// SPDX-License-Identifier: Apache-2.0
// Charts on canvases: lines over time, without a library. Points are {t: ms, <field>: number}; a
// field that is missing is a gap.

const MIB = 2 ** 20, GIB = 2 ** 30;

export function bytes(size) {
  if (size === undefined) return "–";
  if (size === 0) return "0";
  if (size < 10 * MIB) return `${(size / MIB).toFixed(size < MIB ? 2 : 1)} MiB`;
  if (size < GIB) return `${Math.round(size / MIB)} MiB`;
  const gib = size / GIB;
  return gib < 1024 ? `${gib.toFixed(gib < 10 ? 2 : gib < 100 ? 1 : 0)} GiB` : `${(gib / 1024).toFixed(2)} TiB`;
}

export const percent = (bp) => (bp === undefined ? "–" : `${(bp / 100).toFixed(2)} %`);

let colours;
export function forgetColours() {
  colours = undefined;
}
function colour(name) {
  colours ??= {};
  return (colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
}

// A canvas whose pixels are the screen's; {context, width, height} in CSS pixels, cleared.
function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// Pieces of points that follow on each other and all have the fields.
function pieces(points, fields, gap) {
  const found = [];
  let piece = [], last;
  for (const point of points) {
    const whole = fields.every((field) => point[field] !== undefined);
    if (!whole || (last && point.t - last.t > gap)) {
      if (piece.length) found.push(piece);
      piece = [];
    }
    if (whole) piece.push(point);
    last = point;
  }
  if (piece.length) found.push(piece);
  return found;
}

const SIZES = [];
for (let size = 16 * MIB; size < 2 ** 50; size *= 2) SIZES.push(size);
const SHARES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

function gridStep(top, steps, most) {
  return steps.find((step) => top / step <= most) ?? top;
}

// chart: {from, until, gap, points, top, band: [low, high], lines: [{field, colour, fill, dash, width, step}],
// kind: "bytes" or "percent", axes, cursor: ms, marks: [{t, up}]}
export function draw(canvas, chart) {
  const { context: c, width, height } = prepare(canvas);
  if (!width || !height) return;
  const left = chart.axes ? 58 : 0, right = chart.axes ? 8 : 1, bottom = chart.axes ? 18 : 1, roof = chart.axes ? 8 : 3;
  const x = (t) => left + ((t - chart.from) / (chart.until - chart.from)) * (width - left - right);
  const y = (value) => height - bottom - (value / chart.top) * (height - bottom - roof);
  if (!chart.axes) { // what there is to see of time that is not known
    c.fillStyle = colour("line");
    c.fillRect(0, height - 1, width, 1);
  }
  if (chart.axes) axes(c, chart, x, y, { left, right, bottom, width, height });
  c.save();
  c.beginPath();
  c.rect(left, 0, width - left - right + 1, height);
  c.clip();
  if (chart.band) {
    c.fillStyle = colour("band");
    for (const piece of pieces(chart.points, chart.band, chart.gap)) {
      c.beginPath();
      piece.forEach((p, i) => (i ? c.lineTo(x(p.t), y(p[chart.band[1]])) : c.moveTo(x(p.t), y(p[chart.band[1]]))));
      piece.slice().reverse().forEach((p) => c.lineTo(x(p.t), y(p[chart.band[0]])));
      c.fill();
    }
  }
  for (const line of chart.lines) drawLine(c, chart, line, x, y, height - bottom);
  for (const mark of chart.marks ?? []) {
    const at = x(mark.t);
    c.fillStyle = colour(mark.up ? "good" : "grant");
    c.beginPath();
    const base = height - bottom;
    c.moveTo(at - 4, mark.up ? base : base - 7);
    c.lineTo(at + 4, mark.up ? base : base - 7);
    c.lineTo(at, mark.up ? base - 7 : base);
    c.fill();
  }
  if (chart.cursor !== undefined) {
    c.strokeStyle = colour("muted");
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x(chart.cursor), 0);
    c.lineTo(x(chart.cursor), height - bottom);
    c.stroke();
  }
  c.restore();
}

function drawLine(c, chart, line, x, y, floor) {
  for (const piece of pieces(chart.points, [line.field], chart.gap)) {
    const path = () => {
      c.beginPath();
      piece.forEach((p, i) => {
        if (!i) return c.moveTo(x(p.t), y(p[line.field]));
        if (line.step) c.lineTo(x(p.t), y(piece[i - 1][line.field]));
        c.lineTo(x(p.t), y(p[line.field]));
      });
      if (piece.length === 1) c.lineTo(x(piece[0].t) + 1.5, y(piece[0][line.field]));
    };
    if (line.fill) {
      path();
      c.lineTo(x(piece.at(-1).t), floor);
      c.lineTo(x(piece[0].t), floor);
      c.globalAlpha = line.fill;
      c.fillStyle = colour(line.colour);
      c.fill();
      c.globalAlpha = 1;
    }
    path();
    c.strokeStyle = colour(line.colour);
    c.lineWidth = line.width ?? 1.5;
    c.lineJoin = "round";
    c.setLineDash(line.dash ?? []);
    c.stroke();
    c.setLineDash([]);
  }
}

function axes(c, chart, x, y, { left, right, bottom, width, height }) {
  c.font = "11px system-ui, sans-serif";
  c.fillStyle = colour("muted");
  c.strokeStyle = colour("line");
  c.lineWidth = 1;
  c.textAlign = "right";
  c.textBaseline = "middle";
  const step = gridStep(chart.top, chart.kind === "bytes" ? SIZES : SHARES, Math.max(2, Math.floor(height / 38)));
  for (let value = 0; value <= chart.top; value += step) {
    const at = Math.round(y(value)) + 0.5;
    c.beginPath();
    c.moveTo(left, at);
    c.lineTo(width - right, at);
    c.stroke();
    c.fillText(chart.kind === "bytes" ? bytes(value) : percent(value), left - 6, at);
  }
  c.textBaseline = "alphabetic";
  const count = Math.max(2, Math.min(6, Math.floor((width - left) / 90)));
  for (let i = 0; i <= count; ++i) {
    const t = chart.from + ((chart.until - chart.from) * i) / count;
    c.textAlign = i === count ? "right" : i === 0 ? "left" : "center";
    c.fillText(clock(t, chart.until - chart.from > 2 * 3600e3 ? "minutes" : "seconds"), x(t), height - 4);
  }
}

export function clock(t, precision = "seconds") {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (precision === "seconds") options.second = "2-digit";
  return new Date(t).toLocaleTimeString([], options);
}

// Pointer and arrow keys choose a point; `show(point or undefined)` tells about it.
export function explore(canvas, chartOf, show) {
  let chosen;
  const choose = (point) => {
    chosen = point?.t;
    show(point);
  };
  canvas.addEventListener("pointermove", (event) => {
    const chart = chartOf();
    if (!chart?.points.length) return;
    const box = canvas.getBoundingClientRect();
    const t = chart.from + ((event.clientX - box.left - 58) / (box.width - 66)) * (chart.until - chart.from);
    choose(chart.points.reduce((best, p) => (Math.abs(p.t - t) < Math.abs(best.t - t) ? p : best)));
  });
  canvas.addEventListener("pointerleave", () => choose(undefined));
  canvas.addEventListener("blur", () => choose(undefined));
  canvas.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    event.stopPropagation();
    const points = chartOf()?.points ?? [];
    let at = points.findIndex((p) => p.t === chosen);
    at = at < 0 ? points.length - 1 : at + (event.key === "ArrowLeft" ? -1 : 1);
    if (points[at]) choose(points[at]);
  });
}

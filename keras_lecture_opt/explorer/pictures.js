// The pictures of a setting at its step. `figures` and `sources` come from Python.

// Fill a source with rows.
function fill(name, rows) {
  const columns = Object.keys(sources[name].data);
  sources[name].data = Object.fromEntries(columns.map((column) => [column, rows.map((row) => row[column])]));
}

const setRange = (range, [start, end]) => range.setv({ start, end });
const widened = ([low, high], share) => [low - share * (high - low), high + share * (high - low)];
const asRange = ([low, high]) => (low < high ? [low, high] : [low - 0.5 * Math.abs(low) - 1e-9, low + 0.5 * Math.abs(low) + 1e-9]);

// The smallest and the largest of the numbers that are allowed, or two numbers where there are none.
function extent(numbers, isAllowed = Number.isFinite) {
  const found = numbers.filter(isAllowed);
  return found.length ? [found.reduce((a, b) => Math.min(a, b)), found.reduce((a, b) => Math.max(a, b))] : [0.1, 1];
}

// What the surface's figure shows: the domain, or a box around the paths and the tips of their velocities.
function boxOf({ zoom }, { domain }, runs) {
  if (!zoom || !runs.length) return domain.map((range) => widened(range, 0.02)); // crosses at the edge are whole
  return domain.map(([low, high], i) => {
    const tip = ({ w, v, m }) => (v !== undefined && m === undefined ? w + v : w);
    const points = runs.flatMap(({ path }) => path.flatMap(({ weights }) => [weights[i].w, tip(weights[i])]));
    return widened(asRange(extent(points, (x) => low <= x && x <= high)), 0.12);
  });
}

let shaded = ""; // of which surface and box the contours are
function drawSurface({ surface }, { loss, minima, domain }, box) {
  setRange(figures.surface.x_range, box[0]);
  setRange(figures.surface.y_range, box[1]);
  const filled = box.map(([low, high], i) => [Math.max(low, domain[i][0]), Math.min(high, domain[i][1])]);
  const key = JSON.stringify([surface, filled]);
  if (key !== shaded) {
    shaded = key;
    const { shades, lines } = shadesOf(loss, filled);
    // The points of the grid are the centers of the picture's pixels.
    const [[x, x_end], [y, y_end]] = filled.map((range) => widened(range, 0.5 / CELLS));
    const image = Object.assign(Float32Array.from(shades.flat()), { dimension: 2, shape: [CELLS + 1, CELLS + 1] });
    fill("shades", [{ image, x, y, dw: x_end - x, dh: y_end - y }]);
    fill("contours", lines);
  }
  fill("minima", minima.map(([x, y]) => ({ x, y })));
}

// An arrow from a point, of the vector's own length or of the same length on the screen for all vectors.
function arrow(box, from, vector, look, isTrue) {
  const size = Math.hypot(...vector.map((x, i) => x / (box[i][1] - box[i][0])));
  if (!size || !Number.isFinite(size)) return [];
  const [x_end, y_end] = from.map((x, i) => x + (isTrue ? 1 : 0.13 / size) * vector[i]);
  return [{ x_start: from[0], y_start: from[1], x_end, y_end, alpha: 1, ...look }];
}

// The last point, or where the path crosses the edge of the domain.
function endOf(path, domain) {
  const outside = path.at(-1).w;
  const inside = path.at(-2)?.w ?? outside;
  const share = Math.min(...outside.map((x, i) => {
    const edge = Math.min(Math.max(x, domain[i][0]), domain[i][1]);
    return edge === x ? 1 : (edge - inside[i]) / (x - inside[i]);
  }));
  return inside.map((x, i) => x + share * (outside[i] - x));
}

// Curves with marks on them, about five, at other places for another path, and with their ends.
function drawCurves(name, curves) {
  fill(name, curves);
  fill(`${name}_marks`, curves.flatMap(({ xs, ys, color, marker, index }) => {
    const every = Math.ceil(xs.length / 5);
    const first = Math.floor(((index % 7) / 7) * every);
    return xs.flatMap((x, k) => (k && k % every === first ? [{ x, y: ys[k], color, marker }] : []));
  }));
  fill(`${name}_ends`, curves.flatMap(({ xs, ys, mark }) => (xs.length ? [{ x: xs.at(-1), y: ys.at(-1), ...mark }] : [])));
}

// Labels beside points, moved apart where they would cover each other; then a line leads to the point.
function labels(points, box) {
  const { inner_height: height, inner_width: width } = figures.surface;
  const [[left, right], [bottom, top]] = box;
  const rows = points.map(({ x, y, text, color }) => {
    const isRight = (x - left) / (right - left) > 0.6;
    const up = ((y - bottom) / (top - bottom)) * height;
    return { x, y, text, color, align: isRight ? "right" : "left", dx: isRight ? -14 : 14, up, at: up };
  });
  const line = 1.15 * parseFloat(getComputedStyle(document.documentElement).fontSize);
  rows.sort((a, b) => a.at - b.at);
  const lowest = 0.6 * line;
  rows.forEach((row, k) => (row.at = Math.max(row.at, lowest, ...rows.slice(0, k).map(({ at }) => at + line))));
  rows.reverse().forEach((row, k) => (row.at = Math.min(row.at, height - lowest - k * line))); // back into the picture
  return rows.map(({ up, at, ...row }) => {
    const isMoved = Math.abs(up - at) > 0.5 * line;
    const x_label = row.x + (row.dx / width) * (right - left), y_label = row.y + ((at - up) / height) * (top - bottom);
    return { ...row, dy: up - at, x_label: isMoved ? x_label : row.x, y_label: isMoved ? y_label : row.y };
  });
}

function drawPaths(drawn, { domain }, start, box) {
  fill("start", [{ x: start[0], y: start[1] }]);
  fill("paths", drawn.map(({ past, line }) => ({ xs: past.map(({ w }) => w[0]), ys: past.map(({ w }) => w[1]), ...line })));
  fill("dots", drawn.flatMap(({ past, line }) => (past.length > 101 ? [] : past.map(({ w: [x, y] }) => ({ x, y, ...line })))));
  const ends = drawn.map(({ path, point, ended, mark, label }) => {
    const [x, y] = ended ? endOf(path, domain) : point.w;
    return { x, y, text: label, ...mark };
  });
  fill("ends", ends);
  fill("labels", labels(ends, box));

  const moving = drawn.filter(({ ended }) => !ended);
  fill("gradients", moving.flatMap(({ path, point: { w, ahead, g }, color }) => {
    const steepest = Math.max(...path.slice(0, -1).map((point) => Math.hypot(...point.g)), 1e-300);
    const alpha = Math.min(1, Math.max(0.1, Math.sqrt(Math.hypot(...g) / steepest)));
    return arrow(box, ahead ?? w, g.map((x) => -x), { color, alpha }, false);
  }));
  fill("velocities", moving.flatMap(({ rule, point: { w, weights }, color }) => {
    const { m, v } = RULES[rule].state;
    if (m) return arrow(box, w, weights.map((weight) => -weight.m), { color }, false);
    return v ? arrow(box, w, weights.map((weight) => weight.v), { color }, true) : [];
  }));
  fill("ahead", moving.flatMap(({ point: { w, ahead }, line }) =>
    (ahead ? [{ x: ahead[0], y: ahead[1], x_end: w[0], y_end: w[1], ...line }] : [])));
}

// The losses and the effective learning rates, at the same steps.
function drawCharts(drawn, step, last, isLog) {
  const [, end] = widened([0, Math.max(step, Math.min(last, 20), 1)], 0.04);
  for (const f of [figures.loss, figures.log_loss, figures.rates]) setRange(f.x_range, [0, end]);
  figures.log_loss.visible = isLog;
  figures.loss.visible = !isLog;

  const losses = drawn.map(({ past, line, mark, index }) =>
    ({ xs: past.map((_, t) => t), ys: past.map(({ loss }) => loss), ...line, mark, index }));
  setRange(figures.log_loss.y_range, decades(losses.flatMap(({ ys }) => ys)));
  setRange(figures.loss.y_range, widened(asRange(extent(losses.flatMap(({ ys }) => ys))), 0.05));
  drawCurves("losses", losses);

  const rates = drawn.flatMap(({ past: [, ...past], line, mark, index }) => [0, 1].map((i) => ({
    xs: past.map((_, t) => t + 1), ys: past.map(({ weights }) => weights[i].rate), ...line, mark, index,
    ...(i === 1 && { width: 3, dash: "7 5" }),
  })));
  setRange(figures.rates.y_range, decades(rates.flatMap(({ ys }) => ys)));
  drawCurves("rates", rates);
}

// A log axis for the numbers, with one decade at least.
function decades(numbers) {
  const [low, high] = extent(numbers, (x) => x > 0 && Number.isFinite(x));
  const room = Math.max(1.6, Math.sqrt(10 / (high / low)));
  return [low / room, high * room];
}

// Save what is on the screen: the surface, the losses and the rates beside it, the hyperparameters of each path below.
function exportPicture(formula, { start, step }, drawn) {
  const shown = [figures.surface, figures.loss.visible ? figures.loss : figures.log_loss, figures.rates];
  const [surface, loss, rates] = shown.map((f) => Bokeh.index.get_one(f).export("png").canvas);
  const scale = devicePixelRatio;
  const line = 26 * scale, edge = 12 * scale, top = line + edge, right = surface.width + 2 * edge;
  const canvas = document.createElement("canvas");
  canvas.width = right + loss.width + edge;
  canvas.height = Math.max(surface.height, loss.height + rates.height) + line * drawn.length + top + 2 * edge;
  const context = canvas.getContext("2d");
  const draw = (color, width, height, x, y) => {
    context.fillStyle = color;
    context.fillRect(x, y, width, height);
  };
  const write = (weight, text, x, y) => {
    context.font = `${weight} ${17 * scale}px sans-serif`;
    context.fillStyle = "#000000";
    context.fillText(text, x, y);
  };
  draw("#FFFFFF", canvas.width, canvas.height, 0, 0);
  write("bold", `L(w) = ${formula}, from ${pair(start)}, step ${step}. Rates: w₁ solid, w₂ dashed`, edge, line);
  context.drawImage(surface, edge, top);
  context.drawImage(loss, right, top);
  context.drawImage(rates, right, top + loss.height);
  drawn.forEach(({ rule, h, color }, i) => {
    const y = canvas.height - edge - line * (drawn.length - 1 - i);
    draw(color, 30 * scale, 6 * scale, edge, y - 8 * scale);
    const values = Object.entries(h).map(([name, value]) => `${name} = ${value}`).join(", ");
    write("normal", `${rule}, ${values}`, edge + 40 * scale, y);
  });
  return canvas;
}

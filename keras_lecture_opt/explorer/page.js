// The page: its controls, its pictures, its address. `figures`, `contours` and `sources` come from Python, LECTURE from
// the classes, RULES, SURFACES and `descend` from the files of those names.

const $ = (selector) => document.querySelector(selector);
const RULE_NAMES = Object.keys(LECTURE.rules).filter((name) => name in RULES);
const EXAMPLES = {
  Zigzag: {
    sentence: "Zigzag behavior! Move very slowly on the flat direction, oscillate on the steep direction.",
    look: "Momentum damps the zigzag: move μ.",
    surface: "quadratic", rules: ["SteepestDescent", "Momentum"], learning_rate: 0.036, momentum: 0.5, steps: 60,
    speed: "5",
  },
  "Already optimal, but v ≠ 0": {
    sentence: "Suppose w is already optimal, but v ≠ 0. Look ahead! The actual update is more reliable than Momentum.",
    look: "Nesterov takes the gradient at ◇.",
    surface: "quadratic", rules: ["Momentum", "Nesterov"], start: [0, 0], velocity: [0.3, 0.15], steps: 60, speed: "5",
  },
  "AdaGrad: the diagonal, and the stop": {
    sentence: "Will follow the diagonal direction! Learning rate goes down monotonically as t increases. Stop learning!!!",
    look: "RMSProp forgets old gradients, and keeps moving.",
    surface: "quadratic", rules: ["AdaGrad", "RMSProp"], steps: 400, speed: "20",
  },
  "Saddle": {
    sentence: "The problem is unbounded and (0, 0) is a saddle point. How will these methods behave if we start at this point?",
    look: "Rules with one rate for all weights wait at the saddle.",
    surface: "saddle", rules: RULE_NAMES, steps: 3500, speed: "faster",
  },
  "Bias correction": {
    sentence: "Bias Correction (since we set m⁽⁰⁾, v⁽⁰⁾ to 0)",
    look: "Without it, the first step is 3.16 η, and the path leaves the domain.",
    surface: "beale", rules: ["SimplifiedAdam", "Adam"], learning_rate: 0.3, steps: 200, speed: "5",
  },
};

// One slider for all rules that share an argument and its default; one learning rate for all rules.
const SLIDERS = Object.entries(LECTURE.hyperparameters).flatMap(([argument, { most }]) => {
  const groups = {};
  for (const rule of RULE_NAMES) {
    const value = LECTURE.rules[rule].defaults[argument];
    if (value !== undefined) (groups[argument === "learning_rate" ? 0.01 : value] ??= []).push(rule);
  }
  const several = Object.keys(groups).length > 1;
  return Object.entries(groups).map(([value, rules]) => ({
    key: several ? `${argument}_${rules[0]}` : argument,
    argument, rules, several, value: Number(value), most,
    lowest: { learning_rate: -4, epsilon: -10 }[argument], // the exponent, where the range is logarithmic
  }));
});
const sliderOf = (rule, argument) => SLIDERS.find((s) => s.argument === argument && s.rules.includes(rule));

function defaults(surface) {
  return {
    surface, rules: ["SteepestDescent"], start: LECTURE.surfaces[surface].start, velocity: [0, 0], steps: 100, step: 0,
    speed: "5", ...Object.fromEntries(SLIDERS.map(({ key, value }) => [key, value])),
  };
}

let setting = {};
let descents = {}; // by rule: { path, stopped }
let playing = false;

// ---- Numbers

function shown(x) {
  if (x === undefined) return "";
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text = size >= 1e-3 && size < 1e5 ? String(Number(x.toPrecision(4))) : x.toExponential(2);
  return text.replace(/-/g, "−");
}
const pair = (values) => (values.some((x) => x === undefined) ? "" : `(${values.map(shown).join(", ")})`);
const python = (values) => `(${values.join(", ")})`;

// ---- The descents

function hyperparameters(rule) {
  return Object.fromEntries(
    Object.keys(LECTURE.rules[rule].defaults).map((argument) => [
      LECTURE.hyperparameters[argument].name,
      setting[sliderOf(rule, argument).key],
    ]),
  );
}

function run() {
  const { domain } = LECTURE.surfaces[setting.surface];
  descents = Object.fromEntries(
    setting.rules.map((rule) => [
      rule,
      descend(SURFACES[setting.surface], domain, RULES[rule], hyperparameters(rule), setting.start, setting.velocity, setting.steps),
    ]),
  );
}

// The step that is not finite has no point in the path.
const isNotFinite = ({ stopped }) => Boolean(stopped?.endsWith("finite"));
const endStep = (descent) => descent.path.length - 1 + isNotFinite(descent);
const lastStep = () => Math.max(0, ...Object.values(descents).map(endStep));
const indexIn = ({ path }) => Math.min(setting.step, path.length - 1);
const hasEnded = (descent) => descent.stopped && setting.step >= endStep(descent);

// Why a path ended: the number that crossed a limit.
function reason(descent) {
  const { path, stopped } = descent;
  if (isNotFinite(descent)) return `${stopped}: a weight or the loss would be infinite or NaN`;
  const { domain } = LECTURE.surfaces[setting.surface];
  const { w } = path.at(-1);
  const crossings = w.flatMap((x, i) => {
    const name = `w${"₁₂"[i]}`;  // without its value, which rounds to the limit's
    if (x < domain[i][0]) return [`${name} is below ${shown(domain[i][0])}`];
    return x > domain[i][1] ? [`${name} is above ${shown(domain[i][1])}`] : [];
  });
  return `${stopped}: ${crossings.join(" and ")}`;
}

// The last point, or where the path crosses the edge of the domain.
function endOf({ path }) {
  const { domain } = LECTURE.surfaces[setting.surface];
  const outside = path.at(-1).w;
  const inside = path.at(-2)?.w ?? outside;
  const share = Math.min(...outside.map((x, i) => {
    const edge = Math.min(Math.max(x, domain[i][0]), domain[i][1]);
    return edge === x ? 1 : (edge - inside[i]) / (x - inside[i]);
  }));
  return inside.map((x, i) => x + share * (outside[i] - x));
}

// ---- The pictures

// Fill a source with rows.
function fill(name, rows) {
  const columns = Object.keys(sources[name].data);
  sources[name].data = Object.fromEntries(columns.map((column) => [column, rows.map((row) => row[column])]));
}

// An arrow from a point; of the same length on the screen for all vectors, or of the vector's own.
function arrow(from, vector, color, isTrue) {
  const { domain } = LECTURE.surfaces[setting.surface];
  const parts = vector.map((x, i) => x / (domain[i][1] - domain[i][0]));
  const size = Math.hypot(...parts);
  if (!size || !Number.isFinite(size)) return [];
  const scale = isTrue ? 1 : 0.13 / size;
  return [{ x_start: from[0], y_start: from[1], x_end: from[0] + scale * vector[0], y_end: from[1] + scale * vector[1], color }];
}

// The smallest and the largest of the numbers that are allowed, or two numbers where there are none.
function extent(numbers, isAllowed = Number.isFinite) {
  const found = numbers.filter(isAllowed);
  return found.length ? [found.reduce((a, b) => Math.min(a, b)), found.reduce((a, b) => Math.max(a, b))] : [0.1, 1];
}

// What a new setting changes.
function drawSetting() {
  const { domain, minima } = LECTURE.surfaces[setting.surface];
  [figures.surface.x_range, figures.surface.y_range].forEach((range, i) => {
    const [start, end] = widened(domain[i], 0.02); // crosses at the edge are whole
    range.setv({ start, end });
  });
  for (const [name, contour] of Object.entries(contours)) contour.visible = name === setting.surface;
  fill("minima", minima.map(([x, y]) => ({ x, y })));
  fill("start", [{ x: setting.start[0], y: setting.start[1] }]);

  const isLog = Object.values(descents).every(({ path }) => path.every(({ loss }) => loss >= 0));
  figures.log_loss.visible = isLog;
  figures.loss.visible = !isLog;
  $("#scale").textContent = isLog ? "" : "It falls below 0, which a log axis cannot show.";
  figures.rates.y_range.factors = setting.rules.flatMap((rule) => weights(rule)).reverse();
}

const widened = ([low, high], share) => [low - share * (high - low), high + share * (high - low)];
const weights = (rule) => [`${rule} w₁`, `${rule} w₂`];

// What a new step changes.
function drawStep() {
  const drawn = Object.entries(descents).map(([rule, descent], i, { length }) => {
    const k = indexIn(descent);
    const ended = hasEnded(descent);
    const { color } = LECTURE.rules[rule];
    return {
      rule, descent, point: descent.path[k], past: descent.path.slice(0, k + 1), ended,
      line: { color, width: 4 + (length - 1 - i) }, // what lies below stays visible
      mark: ended ? { color, edge: color, width: 5, marker: "x" } : { color, edge: "#000000", width: 1, marker: "circle" },
    };
  });
  drawPaths(drawn);
  drawLosses(drawn);
  drawRates(drawn);
  drawTable(drawn);
  const last = lastStep();
  $("#step").max = last;
  $("#step").value = setting.step;
  $("#counter").textContent = `step ${setting.step} of ${last}`;
  const status = drawn.filter(({ ended }) => ended).map(({ rule, descent }) => `${rule} ${reason(descent)}.`).join(" ");
  if ($("#status").textContent !== status) $("#status").textContent = status;
}

function drawPaths(drawn) {
  fill("paths", drawn.map(({ past, line }) => ({ xs: past.map(({ w }) => w[0]), ys: past.map(({ w }) => w[1]), ...line })));
  fill("dots", drawn.flatMap(({ past, line }) => (past.length > 101 ? [] : past.map(({ w: [x, y] }) => ({ x, y, ...line })))));
  fill("ends", drawn.map(({ descent, point, ended, mark }) => {
    const [x, y] = ended ? endOf(descent) : point.w;
    return { x, y, ...mark };
  }));
  const moving = drawn.filter(({ ended }) => !ended);
  fill("gradients", moving.flatMap(({ point: { w, ahead, g }, line }) => arrow(ahead ?? w, g.map((x) => -x), line.color, false)));
  fill("velocities", moving.flatMap(({ rule, point: { w, weights }, line }) => {
    const has = (name) => RULES[rule].state.includes(name);
    if (has("m")) return arrow(w, weights.map(({ m }) => -m), line.color, false);
    return has("v") ? arrow(w, weights.map(({ v }) => v), line.color, true) : [];
  }));
  fill("ahead", moving.flatMap(({ point: { w, ahead }, line }) =>
    (ahead ? [{ x: ahead[0], y: ahead[1], w1: w[0], w2: w[1], ...line }] : [])));
}

function drawLosses(drawn) {
  const losses = drawn.flatMap(({ past }) => past.map(({ loss }) => loss));
  const [low, high] = extent(losses, (loss) => loss > 0);
  figures.log_loss.y_range.setv({ start: low / 3, end: high * 3 });
  const [start, end] = widened(extent(losses), 0.05);
  figures.loss.y_range.setv({ start, end });
  const steps = [0, Math.max(setting.step, Math.min(lastStep(), 20), 1)];
  for (const f of [figures.loss, figures.log_loss]) f.x_range.setv({ start: 0, end: widened(steps, 0.03)[1] });
  fill("losses", drawn.map(({ past, line }) => ({ xs: past.map((_, t) => t), ys: past.map(({ loss }) => loss), ...line })));
  fill("loss_ends", drawn.map(({ past, point, mark }) => ({ x: past.length - 1, y: point.loss, ...mark })));
}

function drawRates(drawn) {
  const rates = drawn.flatMap(({ past }) => past.slice(1).flatMap(({ weights }) => weights.map(({ rate }) => rate)));
  const [low, high] = extent(rates, (rate) => rate > 0 && Number.isFinite(rate)).map(Math.log10);
  const [first, last] = [Math.floor(low - 0.1), Math.ceil(high + 0.1)];
  const lowest = 10 ** first;
  figures.rates.x_range.setv({ start: lowest, end: 10 ** last });
  const stride = Math.ceil((last - first) / 4);
  const decades = Array.from({ length: Math.floor((last - first) / stride) + 1 }, (_, i) => 10 ** (first + i * stride));
  figures.rates.document.get_model_by_name("decades").ticks = decades;
  fill("rates", drawn.flatMap(({ rule, point, line }) =>
    point.weights.map(({ rate }, i) => ({ weight: weights(rule)[i], rate: rate ?? lowest, lowest, ...line }))));
}

function drawTable(drawn) {
  const states = [...new Set(drawn.flatMap(({ rule }) => RULES[rule].state))];
  const rows = drawn.map(({ rule, past, point, line: { color } }) => {
    const column = (name) => pair(point.weights.map((weight) => weight[name]));
    const values = [past.length - 1, shown(point.loss), pair(point.w), pair(point.g), ...states.map(column), column("rate")];
    return `<tr><th scope="row"><i style="background:${color}"></i>${rule}</th>${values.map((x) => `<td>${x}</td>`).join("")}</tr>`;
  });
  const heads = ["rule", "step", "loss", "w", "g", ...states, "effective rate"];
  $("#numbers table").innerHTML =
    `<thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
}

function drawPython() {
  const calls = setting.rules.map((rule) => {
    const values = Object.keys(LECTURE.rules[rule].defaults).map((name) => `${name}=${setting[sliderOf(rule, name).key]}`);
    const velocity = "momentum" in LECTURE.rules[rule].defaults && setting.velocity.some((v) => v) ? `, velocity=${python(setting.velocity)}` : "";
    return `    descend(${setting.surface}, ${rule}(${values.join(", ")}), start=${python(setting.start)}, steps=${setting.steps}${velocity}),\n`;
  });
  $("#python code").textContent = calls.length
    ? `from keras_lecture_opt import ${setting.rules.join(", ")}, plots\n` +
      `from keras_lecture_opt.landscapes import descend, ${setting.surface}\n\n` +
      `descents = [\n${calls.join("")}]\nplots.paths(descents)\n`
    : "# No rule is switched on.\n";
}

// ---- The address

const hasAddress = location.protocol !== "about:"; // a notebook's frame has none

function writeAddress() {
  if (hasAddress) history.replaceState(null, "", `#${new URLSearchParams(setting)}`.replaceAll("%2C", ","));
}

// Return the setting that the address holds; a value that is not allowed is an error, with its name.
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const surface = given.get("surface") ?? "quadratic";
  check(surface in LECTURE.surfaces, "surface", surface, Object.keys(LECTURE.surfaces).join(", "));
  const read = defaults(surface);
  for (const [key, text] of given) {
    if (!(key in read)) continue;
    const items = text === "" ? [] : text.split(",");
    if (key === "rules") {
      items.forEach((rule) => check(RULE_NAMES.includes(rule), "rules", rule, RULE_NAMES.join(", ")));
      read.rules = RULE_NAMES.filter((rule) => items.includes(rule));
    } else if (key === "speed") {
      const speeds = [...$("#speed").options].map(({ value }) => value);
      check(speeds.includes(text), "speed", text, speeds.join(", "));
      read.speed = text;
    } else if (["start", "velocity"].includes(key)) {
      read[key] = items.map(Number);
      check(items.length === 2 && read[key].every(Number.isFinite), key, text, "two numbers");
      if (key === "start") check(isInside(surface, read.start), key, text, "a point of the domain");
    } else if (key !== "surface") {
      read[key] = Number(text);
      const [allowed, isAllowed] = limits(key);
      check(text !== "" && isAllowed(read[key]), key, text, allowed);
    }
  }
  return read;
}

function check(isAllowed, name, value, allowed) {
  if (!isAllowed) throw new RangeError(`${name} must be ${allowed}, not ${value}.`);
}

const isInside = (surface, point) => point.every((x, i) => {
  const [low, high] = LECTURE.surfaces[surface].domain[i];
  return low <= x && x <= high;
});

// What a number of the setting may be, in words and as a function.
function limits(key) {
  const whole = (low, high) => [`a whole number from ${low} to ${high}`, (x) => Number.isInteger(x) && low <= x && x <= high];
  if (key === "steps") return whole(1, 10000);
  if (key === "step") return whole(0, 10000);
  const { argument, most } = SLIDERS.find((slider) => slider.key === key);
  return [LECTURE.hyperparameters[argument].allowed, (x) => 0 <= x && x <= most];
}

// ---- The controls

function change(changes) {
  const wasAtEnd = setting.step === lastStep();
  setting = { ...setting, ...changes };
  run();
  if (!("step" in changes)) setting.step = wasAtEnd && !playing ? lastStep() : Math.min(setting.step, lastStep());
  drawSetting();
  goTo(setting.step);
  drawControls();
  drawPython();
}

function goTo(step) {
  setting.step = Math.min(Math.max(step, 0), lastStep());
  drawStep();
  if (!playing) writeAddress();
}

function play(isPlaying) {
  playing = isPlaying;
  $("#play").textContent = playing ? "Pause" : "▶ Play";
  $("#status").setAttribute("aria-live", playing ? "off" : "polite");
  if (!playing) return writeAddress();
  if (setting.step >= lastStep()) goTo(0);
  let at = setting.step, before = null;
  requestAnimationFrame(function frame(now) {
    if (!playing) return;
    if (Math.floor(at) !== setting.step) at = setting.step; // someone moved it
    const perSecond = setting.speed === "faster" ? Math.max(5, 0.4 * at) : Number(setting.speed);
    at = Math.min(at + (perSecond * (now - (before ?? now))) / 1000, lastStep());
    before = now;
    if (Math.floor(at) !== setting.step) goTo(Math.floor(at));
    if (setting.step >= lastStep()) return play(false);
    requestAnimationFrame(frame);
  });
}

// Let the controls show the setting; a field with the focus is left as it is typed.
function drawControls() {
  const put = (input, value) => {
    if (document.activeElement !== input || input.type === "range") input.value = value;
  };
  for (const rule of RULE_NAMES) $(`#rule-${rule}`).checked = setting.rules.includes(rule);
  for (const { key, rules, lowest } of SLIDERS) {
    $(`#${key}`).closest(".slider").hidden = !rules.some((rule) => setting.rules.includes(rule));
    put($(`#${key}`), setting[key]);
    put($(`#${key}-range`), lowest ? Math.max(Math.log10(setting[key]), lowest) : setting[key]);
    $(`#${key}-range`).setAttribute("aria-valuetext", setting[key]);
  }
  for (const i of [0, 1]) {
    put($(`#w${i + 1}`), setting.start[i]);
    put($(`#v${i + 1}`), setting.velocity[i]);
  }
  $("#surfaces").value = setting.surface;
  $("#formula").textContent = `L(w) = ${SURFACES[setting.surface].formula}`;
  put($("#steps"), setting.steps);
  $("#speed").value = setting.speed;
  const hasVelocity = setting.rules.some((rule) => "momentum" in LECTURE.rules[rule].defaults);
  document.querySelectorAll(".velocity").forEach((row) => (row.hidden = !hasVelocity));
  document.querySelectorAll(".still").forEach((row) => (row.hidden = hasVelocity));
}

function makeControls() {
  $("#rules").insertAdjacentHTML("beforeend", RULE_NAMES.map((rule) =>
    `<label><input type="checkbox" id="rule-${rule}"><i style="background:${LECTURE.rules[rule].color}"></i>${rule}</label>`).join(""));
  $("#sliders").insertAdjacentHTML("beforeend", SLIDERS.map(({ key, argument, rules, several, value, most, lowest }) => {
    const { symbol, allowed } = LECTURE.hyperparameters[argument];
    const of = several ? `${symbol} of ${rules.join(" and ")}` : symbol;
    const ends = lowest ? `min="${lowest}" max="0" step="0.05"` : `min="0" max="${most}" step="${value > 0.99 ? 0.001 : 0.01}"`;
    return `<div class="slider"><b>${symbol}</b><input type="range" id="${key}-range" ${ends} aria-label="${of}, ${argument}">
      <input type="number" id="${key}" step="any" title="${argument}: ${allowed}" aria-label="${of}, as a number">
      ${several ? `<small>of ${rules.join(", ")}</small>` : ""}</div>`;
  }).join(""));
  $("#surfaces").innerHTML = Object.keys(LECTURE.surfaces).filter((name) => name in SURFACES).map((name) => `<option>${name}</option>`).join("");
  $("#examples").innerHTML = Object.keys(EXAMPLES).map((name) => `<button>${name}</button>`).join("");

  for (const rule of RULE_NAMES) $(`#rule-${rule}`).onchange = () => change({ rules: RULE_NAMES.filter((name) => $(`#rule-${name}`).checked) });
  const onNumber = (input, name, allowed, isAllowed, changes) => (input.oninput = () => {
    const value = input.value === "" ? NaN : Number(input.value);
    const isValid = isAllowed(value);
    $("#error").textContent = isValid ? "" : `${name} must be ${allowed}, not ${input.value || "empty"}.`;
    input.setAttribute("aria-invalid", !isValid);
    if (isValid) change(changes(value));
  });
  for (const { key, argument, lowest } of SLIDERS) {
    onNumber($(`#${key}`), LECTURE.hyperparameters[argument].symbol, ...limits(key), (value) => ({ [key]: value }));
    $(`#${key}-range`).oninput = ({ target }) =>
      change({ [key]: lowest ? Number((10 ** target.value).toPrecision(2)) : Number(target.value) });
  }
  for (const i of [0, 1]) {
    const name = "₁₂"[i];
    const inDomain = (value) => isInside(setting.surface, setting.start.with(i, value));
    onNumber($(`#w${i + 1}`), `w${name}`, "in the domain", inDomain, (value) => ({ start: setting.start.with(i, value) }));
    onNumber($(`#v${i + 1}`), `v${name}`, "a number", Number.isFinite, (value) => ({ velocity: setting.velocity.with(i, value) }));
  }
  onNumber($("#steps"), "Steps", ...limits("steps"), (steps) => ({ steps }));
  $("#surfaces").onchange = ({ target }) => change({ surface: target.value, start: LECTURE.surfaces[target.value].start });
  $("#speed").onchange = ({ target }) => change({ speed: target.value });
  document.querySelectorAll("#examples button").forEach((button) => {
    button.onclick = () => {
      play(false);
      const { sentence, look, ...own } = EXAMPLES[button.textContent];
      change({ ...defaults(own.surface), ...own, step: 0 });
      $("#sentence").innerHTML = `<q>${sentence}</q> ${look}`;
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) goTo(lastStep());
      else play(true);
    };
  });

  const moves = {
    reset: () => goTo(0), back: () => goTo(setting.step - 1), forward: () => goTo(setting.step + 1),
  };
  for (const [id, move] of Object.entries(moves)) $(`#${id}`).onclick = () => { play(false); move(); };
  $("#play").onclick = () => play(!playing);
  $("#step").oninput = ({ target }) => { play(false); goTo(Number(target.value)); };
  document.onkeydown = (event) => {
    if (![document.body, $("#surface")].includes(event.target)) return;
    const button = { " ": "play", ArrowLeft: "back", ArrowRight: "forward", Home: "reset" }[event.key];
    if (button) { event.preventDefault(); $(`#${button}`).click(); }
  };
  $("#copy").onclick = async () => {
    getSelection().selectAllChildren($("#python code")); // to see what is copied, or to copy it by hand
    await navigator.clipboard?.writeText($("#python code").textContent);
  };

  // A click on the surface, or a drag.
  const put = ({ x, y }) => {
    const at = [x, y].map((value) => Number(value.toPrecision(3)));
    if ($("[name=click]:checked").value === "velocity" && !$(".velocity").hidden) {
      change({ velocity: at.map((value, i) => Number((value - setting.start[i]).toPrecision(3))) });
    } else if (isInside(setting.surface, at)) {
      change({ start: at });
    }
  };
  for (const event of ["tap", "panstart", "pan"]) figures.surface.on_event(event, put);
}

function load() {
  try {
    const read = readAddress();
    change(read); // at its step
    $("#error").textContent = "";
  } catch (error) {
    change(defaults("quadratic"));
    $("#error").textContent = `The address: ${error.message}`;
  }
}

makeControls();
load();
window.onhashchange = load;

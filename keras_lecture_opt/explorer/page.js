// The page: its controls, its numbers, its play. The setting is changed here only.

let setting = {};
let runs = []; // the paths of the setting, described, each with its descent
let surface = {}; // of the setting
let playing = false;
let dragging = false; // the box stays while the start is dragged
let box = [];

// ---- Numbers

function shown(x, digits = 4) {
  if (x === undefined) return "";
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text = size >= 1e-3 && size < 1e5 ? String(Number(x.toPrecision(digits))) : x.toExponential(2);
  return text.replace(/-/g, "−");
}
const rounded = (x) => (Math.abs(x) < 1000 ? x.toFixed(2).replace("-", "−") : shown(x, 3));
const pair = (values) => (values.some((x) => x === undefined) ? "" : `(${values.map((x) => shown(x)).join(", ")})`);
const python = (values) => `(${values.join(", ")})`;

// ---- The paths

const lastStep = () => Math.max(0, ...runs.map(({ last }) => last));

// Why a path ended: the weight that crossed an edge of the surface.
function reason({ path, last }) {
  if (path.length === last) return "A weight or the loss would be infinite or NaN"; // such a step has no point
  const crossings = path.at(-1).w.flatMap((x, i) => {
    const [low, high] = surface.domain[i];
    if (low <= x && x <= high) return [];
    return `w${"₁₂"[i]} went ${x < low ? `below ${shown(low)}` : `above ${shown(high)}`}`; // x rounds to the limit
  });
  return `${crossings.join(" and ")}, where the surface ends`;
}

// Which paths have ended, and in which step, by the reason.
function endings(drawn) {
  const steps = {};
  for (const run of drawn.filter(({ ended }) => ended)) (steps[reason(run)] ??= []).push(`${run.label} in step ${run.last}`);
  return Object.entries(steps).map(([why, which]) => `${why}: ${which.join(", ")}.`).join(" ");
}

// What is drawn of each path at the setting's step.
function drawnPaths() {
  return runs.map((run, i) => {
    const { rule, h, color, marker, path } = run;
    const k = Math.min(setting.step, path.length - 1);
    const ended = run.stopped && setting.step >= run.last;
    return {
      ...run, ended, point: path[k], past: path.slice(0, k + 1),
      stability: k ? stability(surface, RULES[rule], h, path, k) : undefined,
      line: { color, marker, dash: "solid", width: 3 + Math.min(runs.length - 1 - i, 4) }, // what lies below stays visible
      mark: ended ? { color, edge: color, width: 5, marker: "x" } : { color, edge: "#000000", width: 1, marker },
    };
  });
}

function drawStep() {
  const drawn = drawnPaths();
  drawPaths(drawn, surface, setting.start, box);
  drawCharts(drawn, setting.step, lastStep(), runs.every(({ path }) => path.every(({ loss }) => loss >= 0)));
  drawTable(drawn);
  drawn.forEach(({ stability }, i) => ($(`#stability-${i}`).textContent = stability === undefined ? "" : rounded(stability)));
  drawMarks();
  $("#step").max = lastStep();
  $("#step").value = setting.step;
  $("#counter").textContent = `step ${setting.step} of`;
  const status = endings(drawn);
  if ($("#status").textContent !== status) $("#status").textContent = status;
}

function drawTable(drawn) {
  const states = [...new Set(drawn.flatMap(({ rule }) => Object.values(RULES[rule].state)))];
  const rows = drawn.map(({ rule, label, color, past, point, stability }) => {
    const { state } = RULES[rule];
    const column = (name) => pair(point.weights.map((weight) => weight[name]));
    const values = [
      past.length - 1, shown(point.loss), pair(point.w), pair(point.g),
      ...states.map((head) => column(Object.keys(state).find((name) => state[name] === head))), column("rate"), shown(stability),
    ];
    return `<tr><th scope="row"><i style="background:${color}"></i>${label}</th>${values.map((x) => `<td>${x}</td>`).join("")}</tr>`;
  });
  const heads = ["path", "step", "loss", "w", "g", ...states, "effective rate", "rate × curvature / limit"];
  $("#numbers table").innerHTML =
    `<thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
}

// Where, at this point, η begins to make a path zigzag, and where it diverges: for the first path whose rate is η.
function drawMarks() {
  const [ticks, text] = [$(".ticks"), $("#bounds")];
  ticks.innerHTML = text.textContent = "";
  const run = runs.find(({ rule, index }) => isMoved(index) && RULES[rule].zigzag);
  if (!run || run.path.length < 2) return;
  const { label, values, h, path } = run;
  const { limit, zigzag } = RULES[run.rule];
  const k = Math.min(Math.max(setting.step, 1), path.length - 1);
  const diverges = values.learning_rate / stability(surface, RULES[run.rule], h, path, k);
  if (!(diverges > 0 && Number.isFinite(diverges))) return;
  const zigzags = (diverges * zigzag(h)) / limit(h);
  const places = [zigzags, diverges].map((eta) => 100 * (1 - Math.log10(eta) / LOWEST.learning_rate));
  ticks.innerHTML = places.filter((x) => 0 <= x && x <= 100).map((x) => `<i style="left:${x}%"></i>`).join("");
  const from = zigzags ? `above η = ${shown(zigzags, 2)}` : "at every η";
  text.textContent = `${label}, here: zigzags ${from}, diverges above ${shown(diverges, 2)}.`;
}

function drawPython() {
  const { paths, start, velocity, steps, domain } = setting;
  const own = surface.python;
  const calls = paths.map(({ rule, values }) => {
    const given = Object.entries(values).map(([name, value]) => `${name}=${value}`).join(", ");
    const moving = "momentum" in values && velocity.some((v) => v) ? `, velocity=${python(velocity)}` : "";
    return `    descend(${own ? "surface" : setting.surface}, ${rule}(${given}), start=${python(start)}, steps=${steps}${moving}),`;
  });
  const limits = `(-${domain}, ${domain})`;
  const definition = [
    "surface = Surface(", '    "surface",', `    lambda w1, w2: ${own},`, `    domain=(${limits}, ${limits}),`,
    `    start=${python(start)},`, ")",
  ];
  const code = [
    ...(own?.includes("tf.") ? ["import tensorflow as tf"] : []),
    `from keras_lecture_opt import ${[...new Set(paths.map(({ rule }) => rule))].join(", ")}, plots`,
    `from keras_lecture_opt.landscapes import ${own ? "Surface, descend" : `descend, ${setting.surface}`}`, "",
    ...(own ? definition : []), "descents = [", ...calls, "]", "plots.paths(descents)",
  ];
  $("#python code").textContent = `${paths.length ? code.join("\n") : "# No rule is switched on."}\n`;
}

// ---- Changes

function change(changes) {
  const wasAtEnd = setting.step === lastStep();
  setting = { ...setting, ...changes };
  const { paths, start, velocity, steps } = setting;
  const example = EXAMPLES[setting.example]; // its sentence belongs to its surface and to its rules
  const isShown = example?.paths.every(({ rule }) => paths.some((path) => path.rule === rule));
  if (!isShown || example.surface !== setting.surface) setting.example = "";
  if (!(setting.moved < paths.length)) setting.moved = "all";
  surface = surfaceIn(setting);
  runs = describe(paths).map((path) =>
    ({ ...path, ...descend(surface, surface.domain, RULES[path.rule], path.h, start, velocity, steps) }));
  if (!dragging) box = boxOf(setting, surface, runs);
  drawSurface(setting, surface, box);
  drawControls();
  drawPython();
  goTo("step" in changes || playing || !wasAtEnd ? setting.step : lastStep());
}

function goTo(step) {
  setting.step = Math.min(Math.max(step, 0), lastStep());
  drawStep();
  if (!playing) writeAddress(setting);
}

function play(isPlaying) {
  playing = isPlaying;
  $("#play").textContent = playing ? "Pause" : "▶ Play";
  $("#status").setAttribute("aria-live", playing ? "off" : "polite");
  if (!playing) return writeAddress(setting);
  if (setting.step >= lastStep()) goTo(0);
  let at = setting.step, before = null;
  requestAnimationFrame(function frame(now) {
    if (!playing) return;
    if (Math.floor(at) !== setting.step) at = setting.step; // someone moved it
    const perSecond = setting.speed === "faster" ? Math.max(5, 0.7 * at) : Number(setting.speed);
    at = Math.min(at + (perSecond * (now - (before ?? now))) / 1000, lastStep());
    before = now;
    if (Math.floor(at) !== setting.step) goTo(Math.floor(at));
    if (setting.step >= lastStep()) return play(false);
    requestAnimationFrame(frame);
  });
}

// ---- The controls

const LOWEST = { learning_rate: -4, epsilon: -10 }; // exponents, of logarithmic sliders
const isMoved = (index) => ["all", String(index)].includes(setting.moved);

// Let the controls show the setting, which is right; a field with the focus is left as it is typed.
function drawControls() {
  $("#error").textContent = "";
  for (const input of document.querySelectorAll("[aria-invalid=true]")) input.setAttribute("aria-invalid", false);
  const put = (input, value) => {
    if (document.activeElement !== input || input.type === "range") input.value = value;
  };
  drawRules();
  for (const argument of ARGUMENTS) {
    const values = [...new Set(runs.flatMap(({ index, values }) => (isMoved(index) ? values[argument] ?? [] : [])))];
    $(`#${argument}`).closest(".slider").hidden = !values.length;
    put($(`#${argument}`), values.length === 1 ? values[0] : "");
    $(`#${argument}`).placeholder = values.length > 1 ? "mixed" : "";
    const range = $(`#${argument}-range`);
    put(range, argument in LOWEST ? Math.max(Math.log10(values[0] ?? 1), LOWEST[argument]) : (values[0] ?? 0));
    range.setAttribute("aria-valuetext", values.join(" or "));
  }
  for (const i of [0, 1]) {
    put($(`#w${i + 1}`), setting.start[i]);
    put($(`#v${i + 1}`), setting.velocity[i]);
  }
  const isOwn = !isLectures(setting.surface);
  $("#surfaces").value = isOwn ? "a formula" : setting.surface;
  $("#formula").textContent = `L(w) = ${isOwn ? "" : surface.formula}`;
  $("#own").hidden = !isOwn;
  put($("#own-formula"), isOwn ? setting.surface : "");
  put($("#domain"), setting.domain);
  put($("#steps"), setting.steps);
  $("#speed").value = setting.speed;
  $("#zoom").setAttribute("aria-pressed", setting.zoom);
  const hasVelocity = setting.paths.some(({ values }) => "momentum" in values);
  document.querySelectorAll(".velocity").forEach((row) => (row.hidden = !hasVelocity));
  document.querySelectorAll("#examples button").forEach((button) => button.setAttribute("aria-pressed", button.value === setting.example));
  const { sentence, look } = EXAMPLES[setting.example] ?? {};
  $("#sentence").innerHTML = sentence ? `The lecture: <q>${sentence}</q> ${look}` : "";
}

// The rules with their paths, and which of them the sliders move.
function drawRules() {
  const rows = RULE_NAMES.flatMap((rule) => {
    const own = runs.filter((run) => run.rule === rule);
    const rows = own.length ? own : [{ label: rule, color: LECTURE.rules[rule].colors[0] }];
    return rows.map(({ label, color, index }, k) => {
      const id = `rule-${rule}${k ? `-${k}` : ""}`;
      const title = `A second setting of ${rule}`;
      const hasMore = k === own.length - 1 && own.length < MOST_PATHS;
      return `<p><label><input type="checkbox" id="${id}" ${own.length ? "checked" : ""}><i style="background:${color}"></i>` +
        `<span>${SYMBOLS[markerOf(rule)]}</span>${label}</label>` +
        (own.length ? `<output id="stability-${index}" title="rate × curvature, divided by the rule's limit"></output>` : "") +
        (hasMore ? `<button class="more" id="more-${rule}" aria-label="${title}" title="${title}">+</button>` : "") + "</p>";
    });
  });
  const focused = document.activeElement?.id;
  $("#rules div").innerHTML = rows.join("");
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus();
  const options = runs.map(({ label, index }) => `<option value="${index}">${label}</option>`);
  $("#moved").innerHTML = `<option value="all">all paths</option>${options.join("")}`;
  $("#moved").value = setting.moved;
}

// ---- What the controls do

// What is wrong is said, and the setting stays.
function attempt(input, action) {
  try {
    action();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    $("#error").textContent = error.message;
    input.setAttribute("aria-invalid", true);
  }
}

$("#examples").innerHTML = Object.entries(EXAMPLES).map(([key, { name }]) => `<button value="${key}">${name}</button>`).join("");
$("#surfaces").innerHTML = [...Object.keys(SURFACES), "a formula"].map((name) => `<option>${name}</option>`).join("");
$("#sliders").insertAdjacentHTML("beforeend", Object.entries(LECTURE.hyperparameters).map(([argument, { symbol, allowed, most }]) => {
  const ends = argument in LOWEST ? `min="${LOWEST[argument]}" max="0" step="0.05"` : `min="0" max="${most}" step="0.001"`;
  return `<div class="slider"><b>${symbol}</b><span><input type="range" id="${argument}-range" ${ends} aria-label="${symbol}, ${argument}">
    ${argument === "learning_rate" ? '<span class="ticks"></span>' : ""}</span>
    <input type="number" id="${argument}" step="any" title="${argument}: ${allowed}" aria-label="${symbol}, as a number"></div>
    ${argument === "learning_rate" ? '<small id="bounds"></small>' : ""}`;
}).join(""));

$("#rules").onchange = ({ target: { id, checked } }) => {
  const [, rule, k = 0] = id.split("-");
  const path = setting.paths.filter((path) => path.rule === rule)[k];
  const others = setting.paths.filter((other) => other !== path);
  const rates = new Set(others.map(({ values }) => values.learning_rate)); // a new path has the one that all share
  const added = checked ? [newPath(rule, rates.size === 1 ? { learning_rate: [...rates][0] } : {})] : [];
  change({ paths: sorted([...others, ...added]), moved: "all" });
};
$("#rules").onclick = ({ target: { id } }) => {
  if (!id.startsWith("more-")) return;
  const rule = id.slice(5);
  const { values } = setting.paths.findLast((path) => path.rule === rule);
  const added = newPath(rule, values);
  const paths = sorted([...setting.paths, added]);
  change({ paths, moved: String(paths.indexOf(added)) });
};

const setArgument = (argument, value) =>
  change({ paths: setting.paths.map((path, i) => (isMoved(i) ? withValue(path, argument, value) : path)) });
const onField = (id, name, read, action) =>
  ($(`#${id}`).oninput = ({ target }) => attempt(target, () => action(read(target.value, name))));
for (const argument of ARGUMENTS) {
  onField(argument, LECTURE.hyperparameters[argument].symbol, READ[argument], (value) => setArgument(argument, value));
  $(`#${argument}-range`).oninput = ({ target }) =>
    setArgument(argument, argument in LOWEST ? Number((10 ** target.value).toPrecision(2)) : Number(target.value));
}
for (const i of [0, 1]) {
  const [w, v] = [`w${"₁₂"[i]}`, `v${"₁₂"[i]}`];
  onField(`w${i + 1}`, w, number("a number", Number.isFinite), (value) => {
    const [low, high] = surface.domain[i];
    check(low <= value && value <= high, w, value, `from ${shown(low)} to ${shown(high)}`);
    const start = setting.start.with(i, value);
    checkStart(surface, start);
    change({ start });
  });
  onField(`v${i + 1}`, v, number("a number", Number.isFinite), (value) =>
    change({ velocity: setting.velocity.with(i, value) }));
}
onField("steps", "Steps", READ.steps, (steps) => change({ steps }));

const setSurface = (name, domain) => {
  const changes = { surface: name, domain };
  const next = surfaceIn(changes); // or an error
  const stays = canStart(next, setting.start) && name !== setting.surface && !isLectures(name);
  const start = stays ? setting.start : next.start;
  checkStart(next, start);
  change({ ...changes, start });
};
$("#surfaces").onchange = ({ target }) => attempt(target, () => (target.value === "a formula"
  ? setSurface(surface.formula, Math.max(...surface.domain.flat())) : setSurface(target.value, setting.domain)));
onField("own-formula", "The formula", String, (formula) => setSurface(formula, setting.domain));
onField("domain", "The domain", READ.domain, (domain) => setSurface(setting.surface, domain));

$("#speed").onchange = ({ target }) => change({ speed: target.value });
$("#moved").onchange = ({ target }) => change({ moved: target.value });
$("#zoom").onclick = () => change({ zoom: !setting.zoom });
$("#examples").onclick = ({ target: { value } }) => {
  if (!value) return;
  play(false);
  change(exampleSetting(value));
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) goTo(lastStep());
  else play(true);
};

const stopAt = (step) => {
  play(false);
  goTo(step);
};
$("#reset").onclick = () => stopAt(0);
$("#back").onclick = () => stopAt(setting.step - 1);
$("#forward").onclick = () => stopAt(setting.step + 1);
$("#step").oninput = ({ target }) => stopAt(Number(target.value));
$("#play").onclick = () => play(!playing);
$("#copy").onclick = async () => {
  getSelection().selectAllChildren($("#python code")); // to see what is copied, or to copy it by hand
  await navigator.clipboard?.writeText($("#python code").textContent);
};
$("#save").onclick = () => exportPicture(surface.formula, setting, drawnPaths()).toBlob((blob) => {
  const link = document.createElement("a");
  [link.href, link.download] = [URL.createObjectURL(blob), "explorer.png"];
  link.click();
  URL.revokeObjectURL(link.href);
});

// ---- Keys work wherever the pointer has been, but in fields, and on sliders that Tab has reached. Who moves with Tab presses
// a button with Space.
const KEYS = {
  " ": "play", ArrowLeft: "back", PageUp: "back", ArrowRight: "forward", PageDown: "forward", Home: "reset",
};
let byTab = false;
document.addEventListener("pointerdown", () => (byTab = false), true);
for (const type of ["keydown", "keyup"]) {
  document.addEventListener(type, (event) => {
    if (event.key === "Tab") byTab = true;
    const { target, key, ctrlKey, metaKey, altKey } = event;
    if (!(key in KEYS) || ctrlKey || metaKey || altKey) return;
    if (target.matches("select, input:not([type=checkbox], [type=radio])")) return;
    if (key === " " && byTab && target.matches("button, input")) return;
    event.preventDefault(); // a button is pressed when Space is released
    if (type === "keydown") $(`#${KEYS[key]}`).click();
  });
}
for (const control of document.querySelectorAll("select, input[type=range]")) {
  control.addEventListener("change", () => byTab || control.blur());
}

// ---- A click on the surface, or a drag, with a mouse, a finger or a pen.
const place = $("#surface");
function point(event) {
  const view = Bokeh.index.get_one(figures.surface);
  const { x, y } = view.el.getBoundingClientRect();
  const { x_scale, y_scale } = view.frame;
  const at = [x_scale.invert(event.clientX - x), y_scale.invert(event.clientY - y)].map((value) => Number(value.toPrecision(3)));
  if ($("[name=click]:checked").value === "velocity" && !$(".velocity").hidden) {
    change({ velocity: at.map((value, i) => Number((value - setting.start[i]).toPrecision(3))) });
  } else if (canStart(surface, at)) {
    change({ start: at });
  }
}
place.onpointerdown = (event) => {
  if (event.button !== 0) return;
  dragging = true;
  place.setPointerCapture(event.pointerId);
  point(event);
};
place.onpointermove = (event) => dragging && point(event);
place.onpointerup = place.onpointercancel = () => {
  dragging = false;
  if (setting.zoom) change({});
};

function load() {
  try {
    change(readAddress());
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const { hash } = location;
    change(defaults("quadratic"));
    history.replaceState(null, "", hash); // to be corrected
    $("#error").textContent = `The address: ${error.message}`;
  }
}

load();
window.onhashchange = load;
window.onresize = () => drawStep(); // labels have a size on the screen

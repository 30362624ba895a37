// The page: its controls, its numbers, its play. The setting is changed here only.

let setting = {};
let runs = []; // of the paths, in their order: { path, stopped }
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
const html = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

// ---- The paths

const named = ({ values }) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [LECTURE.hyperparameters[name].name, value]));

function run() {
  surface = surfaceIn(setting);
  const { start, velocity, steps } = setting;
  runs = setting.paths.map((path) => descend(surface, surface.domain, RULES[path.rule], named(path), start, velocity, steps));
}

// The step that is not finite has no point in the path.
const isNotFinite = ({ stopped }) => Boolean(stopped?.endsWith("finite"));
const endStep = (run) => run.path.length - 1 + isNotFinite(run);
const lastStep = () => Math.max(0, ...runs.map(endStep));

// Why a path ended: the weight that crossed an edge of the surface.
function reason(run) {
  if (isNotFinite(run)) return "A weight or the loss would be infinite or NaN";
  const crossings = run.path.at(-1).w.flatMap((x, i) => {
    const name = `w${"₁₂"[i]}`; // without its value, which rounds to the limit's
    const [low, high] = surface.domain[i];
    if (x < low) return [`${name} went below ${shown(low)}`];
    return x > high ? [`${name} went above ${shown(high)}`] : [];
  });
  return `${crossings.join(" and ")}, where the surface ends`;
}

// Which paths have ended, and in which step, by the reason.
function endings(drawn) {
  const steps = {};
  for (const { label, run } of drawn.filter(({ ended }) => ended)) (steps[reason(run)] ??= []).push(`${label} in step ${endStep(run)}`);
  return Object.entries(steps).map(([why, which]) => `${why}: ${which.join(", ")}.`).join(" ");
}

// What is drawn of each path at the setting's step.
function drawnPaths() {
  const looks = describe(setting.paths);
  return runs.map((run, i) => {
    const { rule } = setting.paths[i];
    const { label, color, marker } = looks[i];
    const k = Math.min(setting.step, run.path.length - 1);
    const ended = run.stopped && setting.step >= endStep(run);
    const hyperparameters = named(setting.paths[i]);
    return {
      rule, run, label, ended, hyperparameters, point: run.path[k], past: run.path.slice(0, k + 1),
      stability: k ? stability(surface, RULES[rule], hyperparameters, run.path, k) : undefined,
      line: { color, marker, width: 3 + Math.min(runs.length - 1 - i, 4) }, // what lies below stays visible
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
  // A velocity and a mean square are both called v on the slides.
  const states = { v: "velocity v", G: "G", m: "m", v2: "v, mean of g²" };
  const state = (rule, name) => (RULES[rule].state.includes("m") ? { m: "m", v2: "v" }[name] : { v: "v", G: "G" }[name]);
  const shownStates = Object.keys(states).filter((name) => drawn.some(({ rule }) => RULES[rule].state.includes(state(rule, name))));
  const rows = drawn.map(({ rule, label, past, point, stability, line: { color } }) => {
    const column = (name) => (name ? pair(point.weights.map((weight) => weight[name])) : "");
    const values = [
      past.length - 1, shown(point.loss), pair(point.w), pair(point.g), ...shownStates.map((name) => column(state(rule, name))),
      column("rate"), shown(stability),
    ];
    return `<tr><th scope="row"><i style="background:${color}"></i>${label}</th>${values.map((x) => `<td>${x}</td>`).join("")}</tr>`;
  });
  const heads = ["path", "step", "loss", "w", "g", ...shownStates.map((name) => states[name]), "effective rate", "rate × curvature / limit"];
  $("#numbers table").innerHTML =
    `<thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
}

// Where, at this point, η begins to make a path zigzag, and where it diverges: for the first path whose rate is η.
function drawMarks() {
  const [ticks, text] = [$(".ticks"), $("#bounds")];
  ticks.innerHTML = text.textContent = "";
  const i = setting.paths.findIndex((path) => selected().includes(path) && RULES[path.rule].zigzag);
  if (i < 0 || runs[i].path.length < 2) return;
  const { rule, values } = setting.paths[i];
  const h = named(setting.paths[i]);
  const k = Math.min(Math.max(setting.step, 1), runs[i].path.length - 1);
  const diverges = values.learning_rate / stability(surface, RULES[rule], h, runs[i].path, k);
  if (!(diverges > 0 && Number.isFinite(diverges))) return;
  const zigzags = (diverges * RULES[rule].zigzag(h)) / RULES[rule].limit(h);
  const places = [zigzags, diverges].map((eta) => 100 * (1 - Math.log10(eta) / LOWEST.learning_rate));
  ticks.innerHTML = places.filter((x) => 0 <= x && x <= 100).map((x) => `<i style="left:${x}%"></i>`).join("");
  const from = zigzags ? `above η = ${shown(zigzags, 2)}` : "at every η";
  text.textContent = `${describe(setting.paths)[i].label}, here: zigzags ${from}, diverges above ${shown(diverges, 2)}.`;
}

function drawPython() {
  const { paths, start, steps } = setting;
  const own = surface.python;
  const call = ({ rule, values }) => {
    const given = Object.entries(values).map(([name, value]) => `${name}=${value}`).join(", ");
    const velocity = "momentum" in values && setting.velocity.some((v) => v) ? `, velocity=${python(setting.velocity)}` : "";
    return `    descend(${own ? "surface" : setting.surface}, ${rule}(${given}), start=${python(start)}, steps=${steps}${velocity}),\n`;
  };
  const rules = [...new Set(paths.map(({ rule }) => rule))];
  const limit = setting.domain;
  $("#python code").textContent = paths.length
    ? (own?.includes("tf.") ? "import tensorflow as tf\n" : "") +
      `from keras_lecture_opt import ${rules.join(", ")}, plots\n` +
      `from keras_lecture_opt.landscapes import ${own ? "Surface, descend" : `descend, ${setting.surface}`}\n\n` +
      (own
        ? `surface = Surface(\n    "surface",\n    lambda w1, w2: ${own},\n` +
          `    domain=((-${limit}, ${limit}), (-${limit}, ${limit})),\n    start=${python(start)},\n)\n`
        : "") +
      `descents = [\n${paths.map(call).join("")}]\nplots.paths(descents)\n`
    : "# No rule is switched on.\n";
}

// ---- Changes

function change(changes) {
  const wasAtEnd = setting.step === lastStep();
  setting = { ...setting, ...changes };
  const { surface: name, paths } = setting;
  const example = EXAMPLES[setting.example]; // its sentence belongs to its surface and to its rules
  const isShown = example?.surface === name && example.paths.every(({ rule }) => paths.some((path) => path.rule === rule));
  if (!isShown) setting.example = "";
  run();
  if (!("step" in changes)) setting.step = wasAtEnd && !playing ? lastStep() : setting.step;
  setting.step = Math.min(setting.step, lastStep());
  if (!dragging) box = boxOf(setting, surface, runs);
  drawSurface(setting, surface, box);
  drawControls();
  goTo(setting.step);
  drawPython();
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
const SYMBOLS = { circle: "●", square: "■", triangle: "▲", diamond: "◆", inverted_triangle: "▼", hex: "⬢", plus: "✚" };
const moved = () => $("#moved").value; // the index of the path that the sliders move, or "all"
const selected = () => setting.paths.filter((_, i) => moved() === "all" || Number(moved()) === i);

// Let the controls show the setting; a field with the focus is left as it is typed.
function drawControls() {
  const put = (input, value) => {
    if (document.activeElement !== input || input.type === "range") input.value = value;
  };
  drawRules();
  for (const argument of Object.keys(LECTURE.hyperparameters)) {
    const values = [...new Set(selected().flatMap(({ values }) => values[argument] ?? []))];
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
  const looks = describe(setting.paths);
  const rows = RULE_NAMES.flatMap((rule) => {
    const { colors, marker } = LECTURE.rules[rule];
    const own = setting.paths.flatMap((path, i) => (path.rule === rule ? [i] : []));
    const row = (id, label, color, isOn, end) =>
      `<p><label><input type="checkbox" id="${id}" ${isOn ? "checked" : ""}><i style="background:${color}"></i>` +
      `<span>${SYMBOLS[marker]}</span>${html(label)}</label>${end}</p>`;
    if (!own.length) return [row(`rule-${rule}`, rule, colors[0], false, "")];
    const more = `<button class="more" id="more-${rule}" aria-label="A second setting of ${rule}" title="A second setting of ${rule}">+</button>`;
    return own.map((i, k) => row(
      k ? `rule-${rule}-${k}` : `rule-${rule}`, looks[i].label, looks[i].color, true,
      `<output id="stability-${i}" title="rate × curvature, divided by the rule's limit"></output>` +
      (k === own.length - 1 && own.length < MOST_PATHS ? more : ""),
    ));
  });
  const focused = document.activeElement?.id;
  $("#rules div").innerHTML = rows.join("");
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus();
  const before = moved();
  const options = looks.map(({ label }, i) => `<option value="${i}">${html(label)}</option>`);
  $("#moved").innerHTML = `<option value="all">all paths</option>${options.join("")}`;
  if (before && (before === "all" || before < setting.paths.length)) $("#moved").value = before;
}

function forgetErrors() {
  $("#error").textContent = "";
  for (const input of document.querySelectorAll("[aria-invalid=true]")) input.setAttribute("aria-invalid", false);
}

function makeControls() {
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
    $("#moved").value = "all";
    const path = setting.paths.filter((path) => path.rule === rule)[k];
    change({ paths: checked ? sorted([...setting.paths, likeOthers(rule)]) : setting.paths.filter((other) => other !== path) });
  };
  $("#rules").onclick = ({ target: { id } }) => {
    if (!id.startsWith("more-")) return;
    const rule = id.slice(5);
    const { values } = setting.paths.findLast((path) => path.rule === rule);
    const added = newPath(rule, values);
    const paths = sorted([...setting.paths, added]);
    change({ paths });
    $("#moved").value = paths.indexOf(added); // the sliders move the new one
    change({});
  };
  const set = (argument, value) => change({
    paths: setting.paths.map((path) =>
      (selected().includes(path) && argument in path.values ? { ...path, values: { ...path.values, [argument]: value } } : path)),
  });
  const attempt = (input, action) => { // what is wrong is said, and the setting stays
    try {
      action();
      forgetErrors();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      $("#error").textContent = error.message;
      input.setAttribute("aria-invalid", true);
    }
  };
  const onNumber = (input, name, allowed, isAllowed, action) => (input.oninput = () => attempt(input, () => {
    const value = input.value === "" ? NaN : Number(input.value);
    check(isAllowed(value), name, input.value || "empty", allowed);
    action(value);
  }));
  for (const argument of Object.keys(LECTURE.hyperparameters)) {
    onNumber($(`#${argument}`), LECTURE.hyperparameters[argument].symbol, ...limits(argument), (value) => set(argument, value));
    $(`#${argument}-range`).oninput = ({ target }) =>
      set(argument, argument in LOWEST ? Number((10 ** target.value).toPrecision(2)) : Number(target.value));
  }
  for (const i of [0, 1]) {
    const name = "₁₂"[i];
    onNumber($(`#w${i + 1}`), `w${name}`, "a number", Number.isFinite, (value) => {
      const [low, high] = surface.domain[i];
      check(low <= value && value <= high, `w${name}`, value, `from ${shown(low)} to ${shown(high)}`);
      const start = setting.start.with(i, value);
      checkStart(surface, start);
      change({ start });
    });
    onNumber($(`#v${i + 1}`), `v${name}`, "a number", Number.isFinite, (value) => change({ velocity: setting.velocity.with(i, value) }));
  }
  onNumber($("#steps"), "Steps", ...limits("steps"), (steps) => change({ steps }));
  const setSurface = (name, domain) => {
    const changes = { surface: name, domain };
    const next = surfaceIn(changes); // or an error
    const stays = isInside(next, setting.start) && Number.isFinite(next.loss(...setting.start));
    const start = stays && name !== setting.surface && !isLectures(name) ? setting.start : defaults(name, domain).start;
    checkStart(next, start);
    change({ ...changes, start });
  };
  $("#surfaces").onchange = ({ target }) => attempt(target, () => (target.value === "a formula"
    ? setSurface(surface.formula, Math.max(...surface.domain.flat())) : setSurface(target.value, setting.domain)));
  $("#own-formula").oninput = ({ target }) => attempt(target, () => setSurface(target.value, setting.domain));
  onNumber($("#domain"), "The domain", ...limits("domain"), (domain) => setSurface(setting.surface, domain));
  $("#speed").onchange = ({ target }) => change({ speed: target.value });
  $("#moved").onchange = () => change({});
  $("#zoom").onclick = () => change({ zoom: !setting.zoom });
  $("#examples").onclick = ({ target: { value } }) => {
    if (!value) return;
    play(false);
    forgetErrors();
    $("#moved").value = "all";
    change(exampleSetting(value));
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) goTo(lastStep());
    else play(true);
  };

  const moves = {
    reset: () => goTo(0), back: () => goTo(setting.step - 1), forward: () => goTo(setting.step + 1),
  };
  for (const [id, move] of Object.entries(moves)) $(`#${id}`).onclick = () => { play(false); move(); };
  $("#play").onclick = () => play(!playing);
  $("#step").oninput = ({ target }) => { play(false); goTo(Number(target.value)); };
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
  makeKeys();
  makePointer();
}

// A new path has the learning rate that the others share.
function likeOthers(rule) {
  const rates = new Set(setting.paths.map(({ values }) => values.learning_rate));
  return newPath(rule, rates.size === 1 ? { learning_rate: [...rates][0] } : {});
}

// Keys work wherever the pointer has been, but in fields, and on sliders that Tab has reached. Who moves with Tab presses
// a button with Space.
function makeKeys() {
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
}

// A click on the surface, or a drag, with a mouse, a finger or a pen.
function makePointer() {
  const place = $("#surface");
  const put = (event) => {
    const view = Bokeh.index.get_one(figures.surface);
    const { x, y } = view.el.getBoundingClientRect();
    const { x_scale, y_scale } = view.frame;
    const at = [x_scale.invert(event.clientX - x), y_scale.invert(event.clientY - y)].map((value) => Number(value.toPrecision(3)));
    if ($("[name=click]:checked").value === "velocity" && !$(".velocity").hidden) {
      change({ velocity: at.map((value, i) => Number((value - setting.start[i]).toPrecision(3))) });
    } else if (isInside(surface, at) && Number.isFinite(surface.loss(...at))) {
      change({ start: at });
    }
  };
  place.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    dragging = true;
    place.setPointerCapture(event.pointerId);
    put(event);
  });
  place.addEventListener("pointermove", (event) => dragging && put(event));
  for (const type of ["pointerup", "pointercancel"]) {
    place.addEventListener(type, () => {
      if (!dragging) return;
      dragging = false;
      if (setting.zoom) change({});
    });
  }
}

function load() {
  try {
    const read = readAddress();
    $("#moved").value = "all";
    change(read); // at its step
    forgetErrors();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const { hash } = location;
    change(defaults("quadratic"));
    history.replaceState(null, "", hash); // to be corrected
    $("#error").textContent = `The address: ${error.message}`;
  }
}

makeControls();
load();
window.onhashchange = load;
window.onresize = () => drawStep(); // labels have a size on the screen

// What the page shows: a surface, paths from one start, a step. The address holds it. A path has a rule and its
// hyperparameters, so a rule can have several paths.

const $ = (selector) => document.querySelector(selector);
const RULE_NAMES = Object.keys(LECTURE.rules).filter((name) => name in RULES);
const MOST_PATHS = LECTURE.rules.Adam.colors.length; // of one rule

// A path with the defaults of its rule; η is the same for all rules.
const newPath = (rule, values = {}) => ({ rule, values: { ...LECTURE.rules[rule].defaults, learning_rate: 0.01, ...values } });
const pathsOf = (rules, values) => rules.map((rule) => newPath(rule, values));

// The lecture's examples, by what the address calls them.
const EXAMPLES = {
  zigzag: {
    name: "Zigzag",
    sentence: "Zigzag behavior! Move very slowly on the flat direction, oscillate on the steep direction.",
    look: "Momentum damps the zigzag: move μ.",
    surface: "quadratic", steps: 60,
    paths: [newPath("SteepestDescent", { learning_rate: 0.036 }), newPath("Momentum", { learning_rate: 0.036, momentum: 0.5 })],
  },
  optimal: {
    name: "Optimal, but v ≠ 0",
    sentence: "Suppose w is already optimal, but v ≠ 0. Look ahead! The actual update is more reliable than Momentum.",
    look: "Nesterov takes the gradient at ◇, and is pulled back sooner.",
    surface: "quadratic", paths: pathsOf(["Momentum", "Nesterov"]), start: [0, 0], velocity: [0.3, 0.15], steps: 60, zoom: true,
  },
  adagrad: {
    name: "AdaGrad: diagonal, stop",
    sentence: "Will follow the diagonal direction! Learning rate goes down monotonically as t increases. Stop learning!!!",
    look: "RMSProp forgets old gradients, and keeps moving.",
    surface: "quadratic", paths: pathsOf(["AdaGrad", "RMSProp"]), steps: 400, speed: "faster",
  },
  saddle: {
    name: "Saddle",
    sentence: "The problem is unbounded and (0, 0) is a saddle point. At (−0.01, −1), we have ∇L = (0.0003, −2). " +
      "How will these methods behave if we start at this point?",
    look: "Rules with one rate for all weights wait at the saddle.",
    surface: "saddle", paths: pathsOf(RULE_NAMES), steps: 3500, speed: "faster",
  },
  bias: {
    name: "Bias correction",
    sentence: "Bias Correction (since we set m⁽⁰⁾, v⁽⁰⁾ to 0)",
    look: "Without it, the first step is 3.16 η, and the path leaves the domain.",
    surface: "beale", paths: pathsOf(["SimplifiedAdam", "Adam"], { learning_rate: 0.3 }), steps: 13,
  },
};

const isLectures = (surface) => Object.hasOwn(SURFACES, surface);

// Everything that a link may leave out. A surface that is not the lecture's is a formula on [−domain, domain]².
function defaults(surface, domain = 2) {
  const start = isLectures(surface) ? LECTURE.surfaces[surface].start : startOf(surfaceIn({ surface, domain }));
  return {
    surface, domain, paths: [newPath("SteepestDescent")], start, velocity: [0, 0], steps: 100, step: 0, speed: "5",
    zoom: false, example: "",
  };
}
const exampleSetting = (example) => {
  const { name, sentence, look, ...own } = EXAMPLES[example];
  return { ...defaults(own.surface), ...own, example };
};

// The surface of a setting, with its domain and its minima. The latest formula is parsed once.
let latest = {};
function surfaceIn({ surface, domain }) {
  if (isLectures(surface)) return { ...SURFACES[surface], ...LECTURE.surfaces[surface] };
  if (latest.formula !== surface) latest = surfaceOf(surface);
  return { ...latest, domain: [[-domain, domain], [-domain, domain]], minima: [] };
}

// Halfway to a corner, where the loss is finite.
function startOf({ loss, domain: [[, end]] }) {
  const x = end / 2;
  return [[-x, -x], [x, -x], [-x, x], [x, x]].find((point) => Number.isFinite(loss(...point))) ?? [-x, -x];
}

const isInside = ({ domain }, point) => point.every((x, i) => domain[i][0] <= x && x <= domain[i][1]);

// What a path is called, and drawn with: its rule, and what tells it from the rule's other paths.
function describe(paths) {
  return paths.map(({ rule, values }) => {
    const same = paths.filter((path) => path.rule === rule);
    const k = same.findIndex((path) => path.values === values);
    const differing = Object.keys(values).filter((name) => same.some((path) => path.values[name] !== values[name]));
    const names = differing.map((name) => `${LECTURE.hyperparameters[name].symbol} ${values[name]}`);
    const label = [rule, ...(names.length || k === 0 ? names : [`(${k + 1})`])].join(" ");
    return { label, color: LECTURE.rules[rule].colors[k], marker: LECTURE.rules[rule].marker, index: k };
  });
}
const sorted = (paths) => RULE_NAMES.flatMap((rule) => paths.filter((path) => path.rule === rule));

// ---- The address: a hyperparameter has one value for all paths that have it, or one for each path.

const KEYS = ["surface", "domain", "rules", ...Object.keys(LECTURE.hyperparameters), "start", "velocity", "steps", "step", "speed", "zoom", "example"];
const hasAddress = location.protocol !== "about:"; // a notebook's frame has none

function writeAddress({ paths, domain, zoom, example, ...rest }) {
  if (!hasAddress) return;
  const parameters = new URLSearchParams({ ...rest, rules: paths.map(({ rule }) => rule) });
  if (!isLectures(rest.surface)) parameters.set("domain", domain);
  for (const argument of Object.keys(LECTURE.hyperparameters)) {
    const values = paths.map((path) => path.values[argument] ?? "");
    const given = new Set(values.filter((value) => value !== ""));
    if (given.size) parameters.set(argument, given.size === 1 ? [...given] : values);
  }
  if (zoom) parameters.set("zoom", "true");
  if (example) parameters.set("example", example);
  history.replaceState(null, "", `#${parameters.toString().replaceAll("%2C", ",")}`);
}

// Return the setting that the address holds; a value that is not allowed is an error, with its name.
function readAddress() {
  if (!location.hash.slice(1)) {
    const first = exampleSetting("zigzag"); // a finished lesson
    return { ...first, step: first.steps };
  }
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (key) => {
    const text = given.get(key);
    const [allowed, isAllowed] = limits(key);
    check(text.trim() !== "" && isAllowed(Number(text)), key, text, allowed);
    return Number(text);
  };
  for (const key of given.keys()) check(KEYS.includes(key), "a name", key, KEYS.join(", "));
  const choose = (key, allowed) => {
    if (given.has(key)) check(allowed.includes(given.get(key)), key, given.get(key), allowed.join(", "));
    return given.get(key);
  };
  const example = choose("example", Object.keys(EXAMPLES));
  const name = given.get("surface") ?? EXAMPLES[example]?.surface ?? "quadratic";
  const domain = given.has("domain") ? number("domain") : 2;
  let read, surface;
  try {
    read = defaults(name, domain);
    surface = surfaceIn(read);
  } catch (error) {
    if (error instanceof RangeError && /^\w+$/.test(name)) {
      check(false, "surface", name, `${Object.keys(SURFACES).join(", ")} or a formula`);
    }
    throw error;
  }
  if (example && !given.has("surface")) read = exampleSetting(example); // the rest may change it
  if (given.has("rules")) {
    const rules = given.get("rules").split(",").filter((rule) => rule);
    for (const rule of rules) {
      check(RULE_NAMES.includes(rule), "rules", rule, RULE_NAMES.join(", "));
      check(rules.filter((other) => other === rule).length <= MOST_PATHS, "rules", rules, `at most ${MOST_PATHS} of one rule`);
    }
    read.paths = pathsOf(rules);
  }
  for (const [argument, { allowed }] of Object.entries(LECTURE.hyperparameters)) {
    if (!given.has(argument)) continue;
    const items = given.get(argument).split(",");
    check(items.length === 1 || items.length === read.paths.length, argument, items, "one number, or one for each rule");
    read.paths.forEach(({ values }, i) => {
      if (!(argument in values)) return;
      const text = items.length === 1 ? items[0] : items[i];
      check(text.trim() !== "" && limits(argument)[1](Number(text)), argument, text, allowed);
      values[argument] = Number(text);
    });
  }
  read.paths = sorted(read.paths);
  for (const key of ["steps", "step"]) if (given.has(key)) read[key] = number(key);
  for (const key of ["start", "velocity"]) {
    if (!given.has(key)) continue;
    const text = given.get(key);
    read[key] = text.split(",").map(Number);
    check(read[key].length === 2 && read[key].every(Number.isFinite), key, text, "two numbers");
  }
  checkStart(surface, read.start);
  read.speed = choose("speed", [...$("#speed").options].map(({ value }) => value)) ?? read.speed;
  read.zoom = given.has("zoom") ? choose("zoom", ["true", "false"]) === "true" : read.zoom;
  read.example = example ?? "";
  return read;
}

function check(isAllowed, name, value, allowed) {
  if (!isAllowed) throw new RangeError(`${name} must be ${allowed}, not ${value}.`);
}

function checkStart(surface, start) {
  check(isInside(surface, start), "start", start, "a point of the domain");
  check(Number.isFinite(surface.loss(...start)), "start", start, "a point with a finite loss");
}

// What a number of the setting may be, in words and as a function.
function limits(key) {
  const whole = (low, high) => [`a whole number from ${low} to ${high}`, (x) => Number.isInteger(x) && low <= x && x <= high];
  if (key === "steps") return whole(1, 10000);
  if (key === "step") return whole(0, 10000);
  if (key === "domain") return ["a number > 0, at most 1000", (x) => 0 < x && x <= 1000];
  const { allowed, most } = LECTURE.hyperparameters[key];
  return [allowed, (x) => 0 <= x && x <= most];
}

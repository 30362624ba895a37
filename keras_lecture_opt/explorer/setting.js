// What the page shows: a surface, paths from one start, a step. The address holds it. A path has a rule and its
// hyperparameters, so a rule can have several paths.

const $ = (selector) => document.querySelector(selector);
const RULE_NAMES = Object.keys(LECTURE.rules).filter((name) => name in RULES);
const ARGUMENTS = Object.keys(LECTURE.hyperparameters);
const SYMBOLS = { circle: "●", square: "■", triangle: "▲", diamond: "◆", inverted_triangle: "▼", hex: "⬢", plus: "✚" };
const markerOf = (rule) => Object.keys(SYMBOLS)[RULE_NAMES.indexOf(rule) % 7];
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

// The surface of a setting, with its domain, its start and its minima. One that is not the lecture's is a formula on
// [−domain, domain]². Its start is halfway to a corner, where the loss is finite.
function surfaceIn({ surface, domain }) {
  if (isLectures(surface)) return { ...SURFACES[surface], ...LECTURE.surfaces[surface] };
  const own = surfaceOf(surface);
  const x = domain / 2;
  const start = [[-x, -x], [x, -x], [-x, x], [x, x]].find((point) => Number.isFinite(own.loss(...point))) ?? [-x, -x];
  return { ...own, domain: [[-domain, domain], [-domain, domain]], start, minima: [] };
}

// Everything that a link may leave out. The sliders move all paths, or the one with an index.
function defaults(surface, domain = 2) {
  return {
    surface, domain, paths: [newPath("SteepestDescent")], start: surfaceIn({ surface, domain }).start, velocity: [0, 0],
    steps: 100, step: 0, speed: "5", zoom: false, example: "", moved: "all",
  };
}
const exampleSetting = (example) => {
  const { name, sentence, look, ...own } = EXAMPLES[example];
  return { ...defaults(own.surface), ...own, example };
};

// The paths with their hyperparameters by the slides' names, and what each is called and drawn with: its rule, and what
// tells it from the rule's other paths.
function describe(paths) {
  return paths.map(({ rule, values }, index) => {
    const h = Object.fromEntries(Object.entries(values).map(([name, value]) => [LECTURE.hyperparameters[name].name, value]));
    const same = paths.filter((path) => path.rule === rule);
    const k = same.findIndex((path) => path.values === values);
    const differing = Object.keys(values).filter((name) => same.some((path) => path.values[name] !== values[name]));
    const names = differing.map((name) => `${LECTURE.hyperparameters[name].symbol} ${values[name]}`);
    const label = [rule, ...(names.length || k === 0 ? names : [`(${k + 1})`])].join(" ");
    return { rule, values, h, index, label, color: LECTURE.rules[rule].colors[k], marker: markerOf(rule) };
  });
}
const sorted = (paths) => RULE_NAMES.flatMap((rule) => paths.filter((path) => path.rule === rule));

// A path with another value of a hyperparameter, if its rule has it.
const withValue = ({ rule, values }, argument, value) =>
  ({ rule, values: argument in values ? { ...values, [argument]: value } : values });

// ---- From a text to a value of the setting: a RangeError says which value is not allowed, and what is.

function check(isAllowed, name, value, allowed) {
  if (!isAllowed) throw new RangeError(`${name} must be ${allowed}, not ${value}.`);
}

const canStart = ({ domain, loss }, point) => isInside(domain, point) && Number.isFinite(loss(...point));
function checkStart(surface, start) {
  check(isInside(surface.domain, start), "start", start, "a point of the domain");
  check(canStart(surface, start), "start", start, "a point with a finite loss");
}

const number = (allowed, isAllowed) => (text, name) => {
  check(text.trim() && isAllowed(Number(text)), name, text || "empty", allowed);
  return Number(text);
};
const whole = (low, high) =>
  number(`a whole number from ${low} to ${high}`, (x) => Number.isInteger(x) && low <= x && x <= high);
const choice = (allowed) => (text, name) => {
  check(allowed.includes(text), name, text, allowed.join(", "));
  return text;
};
const readPair = (text, name) => {
  const pair = text.split(",").map(Number);
  check(pair.length === 2 && pair.every(Number.isFinite), name, text, "two numbers");
  return pair;
};

// ---- The address: a hyperparameter has one value for all paths that have it, or one for each path.

const READ = {
  surface(text, name) {
    const isWord = /^(?!w\d)[a-z_]\w*$/i.test(text); // which no formula is
    check(isLectures(text) || !isWord, name, text, `${Object.keys(SURFACES).join(", ")} or a formula`);
    return text;
  },
  domain: number("a number > 0, at most 1000", (x) => 0 < x && x <= 1000),
  rules(text, name) {
    const rules = text.split(",").filter((rule) => rule);
    for (const rule of rules) {
      choice(RULE_NAMES)(rule, name);
      check(rules.filter((other) => other === rule).length <= MOST_PATHS, name, rules, `at most ${MOST_PATHS} of one rule`);
    }
    return pathsOf(rules);
  },
  ...Object.fromEntries(Object.entries(LECTURE.hyperparameters).map(([argument, { allowed, most }]) =>
    [argument, number(allowed, (x) => 0 <= x && x <= most)])),
  start: readPair,
  velocity: readPair,
  steps: whole(1, 10000),
  step: whole(0, 10000),
  speed: choice([...$("#speed").options].map(({ value }) => value)),
  zoom: (text, name) => choice(["true", "false"])(text, name) === "true",
  example: choice(Object.keys(EXAMPLES)),
};
const hasAddress = location.protocol !== "about:"; // a notebook's frame has none

function writeAddress({ paths, domain, zoom, example, moved, ...rest }) {
  if (!hasAddress) return;
  const parameters = new URLSearchParams({ ...rest, rules: paths.map(({ rule }) => rule) });
  if (!isLectures(rest.surface)) parameters.set("domain", domain);
  for (const argument of ARGUMENTS) {
    const values = paths.map((path) => path.values[argument] ?? "");
    const given = new Set(values.filter((value) => value !== ""));
    if (given.size) parameters.set(argument, given.size === 1 ? [...given] : values);
  }
  if (zoom) parameters.set("zoom", "true");
  if (example) parameters.set("example", example);
  history.replaceState(null, "", `#${parameters.toString().replaceAll("%2C", ",")}`);
}

// Return the setting that the address holds.
function readAddress() {
  const given = {}, lists = {};
  for (const [key, text] of new URLSearchParams(location.hash.slice(1) || "example=zigzag&step=60")) { // a finished lesson
    check(Object.hasOwn(READ, key), "a name", key, Object.keys(READ).join(", "));
    if (ARGUMENTS.includes(key)) lists[key] = text.split(",");
    else given[key] = READ[key](text, key);
  }
  const { rules, ...own } = given;
  const first = own.example && !own.surface ? exampleSetting(own.example) : defaults(own.surface ?? "quadratic", own.domain);
  const setting = { ...first, ...own, paths: rules ?? first.paths };
  for (const [argument, items] of Object.entries(lists)) {
    check([1, setting.paths.length].includes(items.length), argument, items, "one number, or one for each rule");
    setting.paths = setting.paths.map((path, i) => (argument in path.values
      ? withValue(path, argument, READ[argument](items.at(items.length === 1 ? 0 : i), argument)) : path));
  }
  setting.paths = sorted(setting.paths);
  checkStart(surfaceIn(setting), setting.start);
  return setting;
}

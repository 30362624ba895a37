// A loss that is given as a formula of w1 and w2, with its gradient and its Hessian. They are exact: the formula is
// computed with jets, [f, f₁, f₂, f₁₁, f₁₂, f₂₂], a number with its first and second derivatives by w1 and w2.

const chain = ([, a1, a2, a11, a12, a22], [f, d, dd]) =>
  [f, d * a1, d * a2, d * a11 + dd * a1 * a1, d * a12 + dd * a1 * a2, d * a22 + dd * a2 * a2];

// The value of a function at x, its derivative, and its second derivative.
const FUNCTIONS = {
  sin: (x) => [Math.sin(x), Math.cos(x), -Math.sin(x)],
  cos: (x) => [Math.cos(x), -Math.sin(x), -Math.cos(x)],
  exp: (x) => [Math.exp(x), Math.exp(x), Math.exp(x)],
  log: (x) => [Math.log(x), 1 / x, -1 / (x * x)],
  sqrt: (x) => [Math.sqrt(x), 0.5 / Math.sqrt(x), -0.25 / (x * Math.sqrt(x))],
  tanh: (x) => [Math.tanh(x), 1 - Math.tanh(x) ** 2, -2 * Math.tanh(x) * (1 - Math.tanh(x) ** 2)],
  cosh: (x) => [Math.cosh(x), Math.sinh(x), Math.cosh(x)],
};

const OPERATIONS = {
  "+": (a, b) => a.map((x, i) => x + b[i]),
  "-": (a, b) => a.map((x, i) => x - b[i]),
  "*": ([a, a1, a2, a11, a12, a22], [b, b1, b2, b11, b12, b22]) => [
    a * b, a1 * b + a * b1, a2 * b + a * b2,
    a11 * b + 2 * a1 * b1 + a * b11, a12 * b + a1 * b2 + a2 * b1 + a * b12, a22 * b + 2 * a2 * b2 + a * b22,
  ],
  "/": (a, b) => OPERATIONS["*"](a, OPERATIONS["^"](b, [-1, 0, 0, 0, 0, 0])),
  "^": (a, b) => {
    const [[x], [n]] = [a, b];
    if (b.slice(1).some((derivative) => derivative)) {
      return chain(OPERATIONS["*"](b, chain(a, FUNCTIONS.log(x))), FUNCTIONS.exp(n * Math.log(x)));
    }
    const times = (k, power) => (k ? k * x ** power : 0); // 0, not 0 · ∞
    return chain(a, [x ** n, times(n, n - 1), times(n * (n - 1), n - 2)]);
  },
};

// How strongly an operation binds, and from which level on its parts need no parentheses.
const LEVELS = { "+": [1, 1, 1], "-": [1, 1, 2], "*": [2, 2, 2], "/": [2, 2, 3], "^": [4, 5, 4] };

const jet = (node, w1, w2) => {
  if (typeof node === "number") return [node, 0, 0, 0, 0, 0];
  if (node === "w1") return [w1, 1, 0, 0, 0, 0];
  if (node === "w2") return [w2, 0, 1, 0, 0, 0];
  const [name, ...parts] = node;
  const [a, b] = parts.map((part) => jet(part, w1, w2));
  return Object.hasOwn(FUNCTIONS, name) ? chain(a, FUNCTIONS[name](a[0])) : OPERATIONS[name](a, b);
};

// Return the tree of a formula: a number, "w1", "w2", or an operation or a function with its parts.
function parse(text) {
  const plain = text
    .replace(/[⁰¹²³⁴-⁹]+/g, (digits) => `^${digits.normalize("NFKD")}`) // what the page shows can be read again
    .normalize("NFKD").replaceAll("−", "-").replaceAll("·", "*").replaceAll("**", "^");
  const tokens = [...plain.matchAll(/\d+\.?\d*(?:e[-+]?\d+)?|\.\d+|[a-z]+\d*|\S/gi)].map(([token]) => token);
  const refuse = (what) => {
    throw new RangeError(
      `The formula must consist of w1, w2, numbers, + - * / ^ ( ) and ${Object.keys(FUNCTIONS).join(", ")}: ${what}.`,
    );
  };
  const found = () => (tokens.length ? `“${tokens[0]}” is not expected there` : "it ends too early");
  const take = (...allowed) => (allowed.includes(tokens[0]) ? tokens.shift() : undefined);
  const need = (token) => take(token) ?? refuse(found());
  const made = (...node) => (node.slice(1).every((part) => typeof part === "number") ? jet(node)[0] : node);

  // A part whose operators bind more strongly than a level.
  function expression(least) {
    let node = take("-") ? made("*", -1, expression(3)) : take("+") ? expression(3) : atom();
    while (tokens.length && tokens[0] !== ")") {
      const operator = Object.hasOwn(LEVELS, tokens[0]) ? tokens[0] : "*"; // 2 w1 is a product, too
      const [level] = LEVELS[operator];
      if (level <= least) break;
      take(operator);
      node = made(operator, node, expression(operator === "^" ? 3 : level));
    }
    return node;
  }
  function atom() {
    const token = tokens[0];
    if (/^[\d.]/.test(token) && Number.isFinite(Number(token))) return Number(tokens.shift());
    if (token === "w1" || token === "w2") return tokens.shift();
    const name = Object.hasOwn(FUNCTIONS, token) ? tokens.shift() : undefined;
    need("(");
    const node = expression(0);
    need(")");
    return name ? made(name, node) : node;
  }

  const node = expression(0);
  if (tokens.length) refuse(found());
  if (typeof node === "number") refuse("it has neither w1 nor w2");
  return node;
}

// Return a tree as Python, with TensorFlow's functions.
function inPython(node, outer = 0) {
  if (!Array.isArray(node)) return node < 0 && outer > 1 ? `(${node})` : String(node);
  const [name, a, b] = node;
  if (Object.hasOwn(FUNCTIONS, name)) return `tf.${name === "log" ? "math.log" : name}(${inPython(a)})`;
  if (name === "*" && a === -1) return outer > 1 ? `(-${inPython(b, 2)})` : `-${inPython(b, 2)}`;
  const [level, left, right] = LEVELS[name];
  const operator = name === "^" ? "**" : ` ${name} `;
  const text = `${inPython(a, left)}${operator}${inPython(b, right)}`;
  return level < outer ? `(${text})` : text;
}

// Return a surface of one's own.
function surfaceOf(formula) {
  const node = parse(formula);
  return {
    formula,
    loss: (w1, w2) => jet(node, w1, w2)[0],
    gradient: (w1, w2) => jet(node, w1, w2).slice(1, 3),
    hessian: (w1, w2) => jet(node, w1, w2).slice(3),
    python: inPython(node),
  };
}

for (const surface of Object.values(SURFACES)) surface.hessian = surfaceOf(surface.formula).hessian;

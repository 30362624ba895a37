// The seven rules as on the slides, for one weight w: all their operations are element-wise.
//
// `step` takes the weight with its state (0 at the start), its gradient g, the hyperparameters and, where the rule
// counts, the number t of the step, from 1. It returns the new weight and state, and the effective learning rate: the
// factor on g, m or m̂. Operations have the order of the class in keras_lecture_opt/rules: a test compares the paths.
// `state` has the heads of its columns in the table of numbers.
//
// `limit` is above which rate × curvature its steps grow, as in keras_lecture_opt.landscapes.LIMITS. `zigzag`, for rules
// whose rate is η, is where its path begins to swing across a valley.

const RULES = {
  SteepestDescent: {
    state: {},
    limit: () => 2,
    zigzag: () => 1,
    step({ w }, g, { η }) {
      w = w - η * g;
      return { w, rate: η };
    },
  },

  Momentum: {
    state: { v: "velocity v" },
    limit: ({ μ }) => 2 * (1 + μ),
    zigzag: ({ μ }) => (1 - Math.sqrt(μ)) ** 2,
    step({ w, v }, g, { η, μ }) {
      v = μ * v - η * g;
      w = w + v;
      return { w, v, rate: η };
    },
  },

  Nesterov: {
    state: { v: "velocity v" },
    limit: ({ μ }) => (2 * (1 + μ)) / (1 + 2 * μ),
    zigzag: ({ μ }) => ((1 - μ) / (1 + μ)) ** 2,
    lookAhead: ({ w, v }, { μ }) => w + μ * v, // θ at the start; g is taken at θ
    step({ θ, v }, g, { η, μ }) {
      v = μ * v - η * g;
      θ = θ + (μ * v - η * g); // w = w + v, for θ = w + μ v, which the class keeps
      const w = θ - μ * v;
      return { w, v, θ, rate: η };
    },
  },

  AdaGrad: {
    state: { G: "G" },
    limit: () => 2,
    step({ w, G }, g, { η, ε }) {
      G = G + g * g;
      const rate = η / (Math.sqrt(G) + ε);
      w = w - rate * g;
      return { w, G, rate };
    },
  },

  RMSProp: {
    state: { G: "G" },
    limit: () => 2,
    step({ w, G }, g, { η, γ, ε }) {
      G = γ * G + (1 - γ) * (g * g);
      const rate = η / (Math.sqrt(G) + ε);
      w = w - rate * g;
      return { w, G, rate };
    },
  },

  SimplifiedAdam: {
    state: { m: "m", v: "v, mean of g²" },
    limit: ({ β1 }) => (2 * (1 + β1)) / (1 - β1),
    step({ w, m, v }, g, { η, β1, β2, ε }) {
      m = β1 * m + (1 - β1) * g;
      v = β2 * v + (1 - β2) * (g * g);
      const rate = η / (Math.sqrt(v) + ε);
      w = w - rate * m;
      return { w, m, v, rate };
    },
  },

  Adam: {
    state: { m: "m", v: "v, mean of g²" },
    limit: ({ β1 }) => (2 * (1 + β1)) / (1 - β1),
    step({ w, m, v }, g, { η, β1, β2, ε }, t) {
      m = β1 * m + (1 - β1) * g;
      v = β2 * v + (1 - β2) * (g * g);
      const m̂ = m / (1 - β1 ** t);
      const v̂ = v / (1 - β2 ** t);
      const rate = η / (Math.sqrt(v̂) + ε);
      w = w - rate * m̂;
      return { w, m, v, rate };
    },
  },
};

// The five surfaces of keras_lecture_opt.landscapes with their gradients, in the order in which TensorFlow
// computes them: there is no other reason for the order of the sums. Python gives their domains, starts and minima.

const square = (x) => x * x; // engines round x ** 2 in different ways

const SURFACES = {
  quadratic: {
    formula: "w₁² + 25 w₂²",
    loss: (w1, w2) => square(w1) + 25 * square(w2),
    gradient: (w1, w2) => [2 * w1, 25 * 2 * w2],
  },

  saddle: {
    formula: "w₁³ + w₂²",
    loss: (w1, w2) => w1 * square(w1) + square(w2),
    gradient: (w1, w2) => [3 * square(w1), 2 * w2],
  },

  rosenbrock: {
    formula: "(1 − w₁)² + 100 (w₂ − w₁²)²",
    loss: (w1, w2) => square(1 - w1) + 100 * square(w2 - square(w1)),
    gradient(w1, w2) {
      const a = 100 * 2 * (w2 - square(w1));
      return [-(2 * (1 - w1)) - a * 2 * w1, a];
    },
  },

  beale: {
    formula: "(1.5 − w₁ + w₁ w₂)² + (2.25 − w₁ + w₁ w₂²)² + (2.625 − w₁ + w₁ w₂³)²",
    loss(w1, w2) {
      const [a, b, c] = bealeTerms(w1, w2);
      return square(a) + square(b) + square(c);
    },
    gradient(w1, w2) {
      const [a, b, c] = bealeTerms(w1, w2).map((term) => 2 * term);
      return [
        -(a * (1 - w2)) - b * (1 - square(w2)) - c * (1 - w2 * square(w2)),
        a * w1 + b * w1 * 2 * w2 + c * w1 * 3 * square(w2),
      ];
    },
  },

  himmelblau: {
    formula: "(w₁² + w₂ − 11)² + (w₁ + w₂² − 7)²",
    loss: (w1, w2) => square(square(w1) + (w2 - 11)) + square(w1 - 7 + square(w2)),
    gradient(w1, w2) {
      const a = 2 * (square(w1) + (w2 - 11));
      const b = 2 * (w1 - 7 + square(w2));
      return [a * 2 * w1 + b, a + b * 2 * w2];
    },
  },
};

function bealeTerms(w1, w2) {
  return [1.5 - w1 * (1 - w2), 2.25 - w1 * (1 - square(w2)), 2.625 - w1 * (1 - w2 * square(w2))];
}

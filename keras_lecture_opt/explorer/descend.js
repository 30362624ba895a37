// A descent, as keras_lecture_opt.landscapes.descend runs it: it ends after the step that leaves the domain, and
// before a step that is not finite. `last` is the number of the step with which it ends.

const isInside = (domain, point) => point.every((x, i) => domain[i][0] <= x && x <= domain[i][1]);

function descend(surface, domain, rule, hyperparameters, start, velocity, steps) {
  const h = { ...hyperparameters, η: Math.fround(hyperparameters.η) }; // Keras keeps η in float32

  // What is known at a point: each weight with its state and rate, and the gradient that the next step takes.
  function point(weights) {
    const w = weights.map((weight) => weight.w);
    const ahead = rule.lookAhead && weights.map(({ θ }) => θ);
    return { weights, w, ahead, loss: surface.loss(...w), g: surface.gradient(...(ahead ?? w)) };
  }

  const zeros = Object.fromEntries(Object.keys(rule.state).map((name) => [name, 0]));
  const first = start.map((w, i) => ({ ...zeros, w, ...("μ" in h && { v: velocity[i] }) }));
  const path = [point(first.map((weight) => ({ ...weight, θ: rule.lookAhead?.(weight, h) })))];
  for (let t = 1; t <= steps; t++) {
    const { weights, g } = path[t - 1];
    const next = point(weights.map((weight, i) => rule.step(weight, g[i], h, t)));
    if (![...next.w, next.loss].every(Number.isFinite)) return { path, last: t, stopped: `step ${t} is not finite` };
    path.push(next);
    if (!isInside(domain, next.w)) return { path, last: t, stopped: `left the domain in step ${t}` };
  }
  return { path, last: steps, stopped: null };
}

// Rate × curvature in a step of a path, divided by the rule's limit, as `Descent.stability`: the largest eigenvalue
// of diag(rates) times the Hessian where the step took its gradient.
function stability(surface, rule, hyperparameters, path, step) {
  const { w, ahead } = path[step - 1];
  const [h11, h12, h22] = surface.hessian(...(ahead ?? w));
  const [r1, r2] = path[step].weights.map(({ rate }) => rate);
  const largest = (r1 * h11 + r2 * h22) / 2 + Math.hypot((r1 * h11 - r2 * h22) / 2, Math.sqrt(r1 * r2) * h12);
  return largest / rule.limit(hyperparameters);
}

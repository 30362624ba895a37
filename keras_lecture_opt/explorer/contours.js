// The shades of a surface, as keras_lecture_opt.plots draws them: each covers an equal part of the box.

const CELLS = 160; // in each direction

function shadesOf(loss, [[left, right], [bottom, top]]) {
  const at = (low, high, i) => low + ((high - low) * i) / CELLS;
  const rows = Array.from({ length: CELLS + 1 }, (_, j) =>
    Array.from({ length: CELLS + 1 }, (_, i) => loss(at(left, right, i), at(bottom, top, j))));
  const finite = Float64Array.from(rows.flat().filter(Number.isFinite)).sort();
  const quantile = (share) => {
    const place = share * (finite.length - 1);
    const below = finite[Math.floor(place)];
    return below + (place % 1) * (finite[Math.ceil(place)] - below);
  };
  const levels = finite.length ? [...new Set(Array.from({ length: 16 }, (_, i) => quantile(i / 15)))] : [];
  const inner = levels.slice(1, -1);
  const shades = rows.map((row) => row.map((value) =>
    (Number.isFinite(value) ? inner.filter((level) => level <= value).length / Math.max(inner.length, 1) : NaN)));

  // Marching squares: within each triangle of a cell, a contour is a straight line.
  const lines = inner.map((level) => {
    const xs = [], ys = [];
    const cross = ([i, j], [k, l]) => {
      const [a, b] = [rows[j][i], rows[l][k]];
      if ((a < level) === (b < level)) return [];
      const share = (level - a) / (b - a);
      return [[at(left, right, i + share * (k - i)), at(bottom, top, j + share * (l - j))]];
    };
    for (let j = 0; j < CELLS; j++) {
      for (let i = 0; i < CELLS; i++) {
        const below = [rows[j][i], rows[j][i + 1], rows[j + 1][i], rows[j + 1][i + 1]].filter((value) => value < level).length;
        if (below === 0 || below === 4) continue;
        for (const corner of [[i + 1, j], [i, j + 1]]) {
          const [a, b] = [[i, j], [i + 1, j + 1]];
          const ends = [...cross(a, corner), ...cross(corner, b), ...cross(a, b)];
          if (ends.length !== 2 || !ends.flat().every(Number.isFinite)) continue;
          xs.push(ends[0][0], ends[1][0], NaN);
          ys.push(ends[0][1], ends[1][1], NaN);
        }
      }
    }
    return { xs, ys };
  });
  return { levels, shades, lines };
}

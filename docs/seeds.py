"""What `comparison.differences` says of optimizers whose truth is known: false alarms and power.

    python docs/seeds.py

simulates studies, writes seeds.csv, and puts its tables into seeds.md. It takes half an hour.
"""

import argparse
import itertools
import math
import os
import pathlib
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from _pages import with_tables, write_rows

from keras_lecture_opt import comparison
from keras_lecture_opt.comparison._differences import visible
from keras_lecture_opt.comparison._tables import markdown_table

HERE = pathlib.Path(__file__).parent
STUDIES = 2000
SPREAD = 0.13  # of the logarithm of a result: that of the committed figure's last epoch
FACTOR = 1.2  # the true difference in the studies of power
# Optimizers and seeds of the studies of equal optimizers, and of those of power.
EQUAL = [(2, 3), (3, 3), (8, 2), (8, 3), (14, 3), (8, 4), (8, 5), (8, 10)]
DIFFERENT = [(2, 5), (8, 3), (8, 5), (8, 10), (8, 20)]
SCENARIOS = {
    "equal spreads": {},
    "spreads from 1 to 10": {"spreads": "any"},
    "one spreads 4 times as much": {"spreads": 4},
    "one spreads 5 times as much": {"spreads": 5},
    "one spreads 10 times as much": {"spreads": 10},
    "t(2) noise": {"heavy": True},
    "seeds correlated, 0.5": {"correlation": 0.5},
    "seeds correlated, 0.9": {"correlation": 0.9},
    "spreads from 1 to 10, correlated, 0.9": {"spreads": "any", "correlation": 0.9},
    "10% of the runs diverge": {"diverge": 0.1},
    "20% of the runs diverge": {"diverge": 0.2},
}
CORRELATIONS = (0, 0.5, 0.9)
# A larger difference beside one noisy optimizer, and without it.
BESIDE = [(3, 3), (3, 5), (3, 10), (8, 5), (8, 10), (8, 20)]
LARGE = 1.6
NOISE = {"all spread equally": {}, "one other spreads 10 times as much": {"spreads": 10}}
VISIBLE = [(2, 3), (3, 3), (8, 3), (3, 5), (8, 5), (8, 10)]


HEADS = {
    "false alarms": "equal optimizers",
    "power": "correlation of the seeds",
    "beside noise": "optimizers x seeds",
    "visible": "optimizers x seeds",
}


def study(
    rng, optimizers, seeds, spreads="equal", heavy=False, correlation=0.0, diverge=0.0, factor=1.0
):
    """Return results of equal optimizers, but for the first, which is better by the factor.

    `correlation` is how much of a run's result its seed decides for all optimizers alike.
    """
    draw = (lambda size: rng.standard_t(2, size)) if heavy else rng.standard_normal
    of_seed, of_run = draw((1, seeds)), draw((optimizers, seeds))
    logs = np.sqrt(correlation) * of_seed + np.sqrt(1 - correlation) * of_run
    if spreads == "any":
        logs *= 10 ** rng.uniform(size=(optimizers, 1))
    elif spreads != "equal":
        logs[-1] *= spreads
    logs[0] -= np.log(factor) / SPREAD
    losses = np.exp(SPREAD * logs)
    losses[rng.uniform(size=losses.shape) < diverge] = np.inf
    return {f"optimizer {i}": row for i, row in enumerate(losses)}


def false_alarms(optimizers, seeds, scenario):
    """Return in how many studies of equal optimizers any difference carries."""
    rng = np.random.default_rng(zlib.crc32(f"{scenario}, {optimizers}, {seeds}".encode()))
    studies = (study(rng, optimizers, seeds, **SCENARIOS[scenario]) for _ in range(STUDIES))
    return sum(any(d.carries for d in comparison.differences(values)) for values in studies)


def power(optimizers, seeds, scenario, others=None, **setting):
    """Return how many of the true differences carry: those between the first and so many others."""
    rng = np.random.default_rng(zlib.crc32(f"{scenario}, {optimizers}, {seeds}".encode()))
    found = 0.0
    for _ in range(STUDIES):
        values = study(rng, optimizers, seeds, **setting)
        true = comparison.differences(values)[: others or optimizers - 1]
        found += np.mean([d.carries and d.better == "optimizer 0" for d in true])
    return found


def simulate():
    """Yield the rows of seeds.csv."""
    cases = [
        *(("false alarms", *sizes, s) for s, sizes in itertools.product(SCENARIOS, EQUAL)),
        *(("power", *sizes, c) for c, sizes in itertools.product(CORRELATIONS, DIFFERENT)),
        *(("beside noise", *sizes, s) for s, sizes in itertools.product(NOISE, BESIDE)),
        *(("visible", *sizes, "said: 80%") for sizes in VISIBLE),
    ]
    for kind, optimizers, seeds, scenario in cases:
        case = optimizers, seeds, scenario
        if kind == "false alarms":
            found = false_alarms(*case)
        elif kind == "power":
            found = power(*case, correlation=scenario, factor=FACTOR)
        elif kind == "beside noise":
            found = power(*case, optimizers - 2, factor=LARGE, **NOISE[scenario])
        else:
            factor = math.exp(visible(SPREAD**2, optimizers, seeds))
            found = power(*case, factor=factor)
        share = found / STUDIES
        row = {"kind": kind, "optimizers": optimizers, "seeds": seeds, "scenario": scenario}
        print(row, f"{share:.1%}", flush=True)
        yield {**row, "studies": STUDIES, "share": round(share, 5)}


def table(rows, kind, head):
    """Return the shares of one kind: a row for each scenario, a column for each size of a study."""
    rows = [row for row in rows if row["kind"] == kind]
    sizes = list(dict.fromkeys((row["optimizers"], row["seeds"]) for row in rows))
    lines = {}
    for row in rows:
        lines.setdefault(row["scenario"], [row["scenario"]]).append(f"{float(row['share']):.1%}")
    columns = [f"{optimizers} x {seeds}" for optimizers, seeds in sizes]
    return markdown_table([head, *columns], lines.values())


def page(rows, text):
    """Return the text of seeds.md with these results."""
    return with_tables(text, {kind: table(rows, kind, head) for kind, head in HEADS.items()})


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    rows = [*simulate()]
    write_rows(HERE / "seeds.csv", rows)
    (HERE / "seeds.md").write_text(page(rows, (HERE / "seeds.md").read_text()))


if __name__ == "__main__":
    main()

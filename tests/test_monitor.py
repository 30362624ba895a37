"""EffectiveLearningRateMonitor: what it writes, read back, and what TensorBoard shows of it."""

import collections
import dataclasses
import json
import pathlib
import re
import urllib.parse
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import imported
from keras import optimizers
from monitored import QUANTILES, VARIABLES, Log, detailed, expected_tags, fit, network
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import keras_lecture_opt

screenshots = imported(pathlib.Path(__file__).parents[1] / "docs" / "screenshots.py")


def adam_by_hand(optimizer):
    """The rates of the variables, from the names of the optimizer's variables, in NumPy."""
    rates = []
    for v in optimizer.variables:
        if v.path.endswith("second_moment"):
            v_hat = v.numpy().astype("float64") / (1 - 0.999 ** int(optimizer.iterations))
            rates.append(0.001 / (np.sqrt(v_hat) + 1e-8))
    return rates


def keras_adam_by_hand(optimizer):
    t = int(optimizer.iterations)
    return [
        0.001 * np.sqrt(1 - 0.999**t) / (np.sqrt(v.numpy().astype("float64")) + 1e-7)
        for v in optimizer.variables
        if v.path.endswith("velocity")
    ]


def sgd_by_hand(optimizer):
    return [np.full(shape, 0.25) for shape in ((4, 8), (8,), (8, 2), (2,))]


BY_HAND = {
    "ours": (keras_lecture_opt.Adam, adam_by_hand),
    "Keras's": (optimizers.Adam, keras_adam_by_hand),
    "without state": (lambda: optimizers.SGD(0.25), sgd_by_hand),
}


@dataclasses.dataclass
class Run:
    """A trained network's optimizer, and the folder of its log."""

    optimizer: optimizers.Optimizer
    folder: pathlib.Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Networks that were trained for two epochs, by the name of their optimizer."""
    trained = {}
    for name, (make, _) in BY_HAND.items():
        trained[name] = Run(make(), tmp_path_factory.mktemp("run"))
        fit(network(trained[name].optimizer), detailed(trained[name].folder))
    return trained


def test_exact_tags_steps_and_files(runs):
    folder = runs["ours"].folder
    log = Log(folder / "train")
    assert log.plugins == expected_tags()
    for tag in log.tags:
        once = tag == "diagnosis" or tag.startswith("all_layers")
        first = [1] if tag == "optimizer/configuration" else [7]
        steps = first if "config" in tag else [14] if once else [7, 14]
        assert log.steps(tag) == steps
    assert Log(folder / "hparams").plugins == {
        "_hparams_/session_start_info": "hparams",
        "metrics/loss": "scalars",
    }
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert sorted(str(path.parent) for path in files) == ["hparams", "train"]
    assert all(path.name.startswith("events.out.tfevents.") for path in files)


@pytest.mark.parametrize("whose", BY_HAND)
def test_values_are_those_of_the_formula(whose, runs):
    run, (_, by_hand) = runs[whose], BY_HAND[whose]
    log = Log(run.folder / "train")
    for name, rate in zip(VARIABLES, by_hand(run.optimizer), strict=True):
        never = rate[0].size if name == "dense/kernel" else 0  # the weights of the dead input
        assert log.last(f"never_updated/{name}") == pytest.approx(never / rate.size)
        others = rate[1:] if never else rate
        for q, share in QUANTILES.items():
            # The smallest rate that so many are not above; of the bins, 0.4% wide.
            true = np.quantile(others, share, method="inverted_cdf")
            exact = share in (0, 1) or whose == "without state"
            logged = log.last(f"effective_lr_quantiles/{name}/{q}")
            assert logged == pytest.approx(true, rel=2e-5 if exact else 4e-3), (name, q)
        assert log.last(f"effective_lr/{name}") == logged_median(log, name)
        for _, bars in log.values[f"effective_lr_histogram/{name}"]:
            assert bars[:, 2].sum() == rate.size
        logs = np.log10(rate)
        for left, right, count in bars:
            assert count == ((logs >= left) & (logs < right)).sum()


def logged_median(log, name):
    return log.last(f"effective_lr_quantiles/{name}/median")


def test_tracked_weights(tmp_path):
    chosen = {"dense/kernel": [(0, 3), (2, 5)], "dense_1/bias": [1]}
    model = network(keras_lecture_opt.Adam())
    fit(model, detailed(tmp_path / "chosen", tracked_weights=chosen))
    log = Log(tmp_path / "chosen" / "train")
    tracked = {tag for tag in log.tags if tag.startswith("tracked")}
    # The first chosen weight stands behind the dead input: it is never updated.
    assert tracked == {"tracked_weights/dense/kernel[2,5]", "tracked_weights/dense_1/bias[1]"}
    kernel, *_, bias = adam_by_hand(model.optimizer)
    assert log.last("tracked_weights/dense/kernel[2,5]") == pytest.approx(kernel[2, 5], rel=1e-5)
    assert log.last("tracked_weights/dense_1/bias[1]") == pytest.approx(bias[1], rel=1e-5)

    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        monitor = detailed(tmp_path / name, tracked_weights=3, seed=seed)
        fit(network(optimizers.SGD(momentum=0.5)), monitor, epochs=1)
        tags = Log(tmp_path / name / "train").tags
        found.append({tag for tag in tags if tag.startswith("tracked")})
    assert found[0] == found[1] != found[2]
    count = collections.Counter(tag.partition("[")[0] for tag in found[0])
    assert count["tracked_weights/dense_1/kernel"] == 3
    assert count["tracked_weights/dense_1/bias"] == 2  # it has no more


def pixels(log, tag):
    width, height, png = log.last(tag)
    image = tf.io.decode_png(png).numpy()
    assert image.shape == (int(height), int(width), 3)
    return image


def test_maps(tmp_path):
    images = np.random.default_rng(0).integers(1, 255, size=(16, 6, 5), dtype="uint8")
    images[:, 0] = 0  # a dead row of pixels
    layers = [keras.layers.Flatten(), keras.layers.Dense(300), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6, 5)), keras.layers.Rescaling(1 / 255), *layers])
    model.compile(keras_lecture_opt.SteepestDescent(0.01), "mse")
    monitor = detailed(tmp_path, write_images=True)
    model.fit(images, np.ones((16, 2)), callbacks=[monitor], verbose=0)
    log = Log(tmp_path / "train")
    maps = {tag for tag in log.tags if tag.startswith("effective_lr_map")}
    assert maps == {"effective_lr_map/dense/kernel", "effective_lr_map/dense_1/kernel"}
    first = pixels(log, "effective_lr_map/dense/kernel")
    assert first.shape == (6, 5, 3)
    np.testing.assert_array_equal(first[0], np.full((5, 3), 128))
    # 0.01 is 3 of the scale's 10 decades up: between the second and the third of its five colours.
    np.testing.assert_array_equal(first[1:], np.broadcast_to([53, 94, 139], (5, 5, 3)))
    assert pixels(log, "effective_lr_map/dense_1/kernel").shape == (64, 2, 3)


@pytest.mark.parametrize("rate", [np.nan, np.inf])
def test_rates_that_are_not_finite_are_counted(rate, tmp_path):
    fit(network(optimizers.SGD(float(rate))), detailed(tmp_path))
    log = Log(tmp_path / "train")
    assert log.last("effective_lr_not_finite/dense/kernel") == 32
    assert "effective_lr/dense/kernel" not in log.tags
    assert log.last("effective_lr_histogram/dense/kernel")[:, 2].sum() == 0


def test_learning_rate_of_zero(tmp_path):
    fit(network(keras_lecture_opt.Adam(0.0)), detailed(tmp_path))
    log = Log(tmp_path / "train")
    assert log.last("effective_lr/dense/kernel") == 0
    assert log.last("effective_lr_histogram/dense/kernel")[:, 2].sum() == 32


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_other_precisions(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = network(keras_lecture_opt.AdaGrad())
        fit(model, detailed(tmp_path, "batch"))
    finally:
        keras.config.set_dtype_policy("float32")
    log = Log(tmp_path / "train")
    assert log.plugins == expected_tags()
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    [G] = optimizer.slots(model.layers[-1].bias)
    rate = 0.01 / (np.sqrt(G.numpy().astype("float64")) + 1e-7)
    assert log.last("effective_lr_quantiles/dense_1/bias/max") == pytest.approx(
        rate.max(), rel=1e-5
    )


def test_configuration_is_shown(tmp_path):
    schedule = optimizers.schedules.ExponentialDecay(0.25, 4, 0.5)
    optimizer = keras_lecture_opt.AdaGrad(schedule, clipnorm=0.5, name="mine")
    fit(network(optimizer), detailed(tmp_path))
    text = Log(tmp_path / "train").last("optimizer/configuration").item().decode()
    for row in (
        "| optimizer | AdaGrad |",
        "| clipnorm | 0.5 |",
        "| epsilon | 1e-07 |",
        "| learning_rate | ExponentialDecay {'initial_learning_rate': 0.25, 'decay_steps': 4,",
    ):
        assert row in text
    rate = optimizers.SGD(lambda: 0.125)
    fit(network(rate), detailed(tmp_path / "callable"))
    assert Log(tmp_path / "callable" / "train").last("effective_lr/dense/bias") == 0.125


def test_hparams_are_shown_as_they_are_given(tmp_path):
    given = {"batch_size": 128, "dropout": 0.0, "augmented": False, "data_name": "mnist"}
    optimizer = keras_lecture_opt.Momentum(momentum=0.0)
    fit(network(optimizer), detailed(tmp_path, hparams=given))
    session = Log(tmp_path / "hparams").metadata["_hparams_/session_start_info"]
    start = HParamsPluginData.FromString(session.content).session_start_info
    shown = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    assert shown == {
        "optimizer": "Momentum",
        "learning_rate": pytest.approx(0.01),
        "momentum": 0.0,
        **given,
    }
    text = Log(tmp_path / "train").last("optimizer/configuration").item().decode()
    assert "| momentum | 0.0 |" in text
    assert "| augmented | False |" in text


def test_bands_are_laid_out(runs):
    log = Log(runs["ours"].folder / "train")
    layout = layout_pb2.Layout.FromString(log.last("custom_scalars__config__").item())
    overview, bands = layout.category
    for chart in overview.chart:
        [pattern] = chart.multiline.tag
        assert len([tag for tag in log.tags if re.search(pattern, tag)]) == len(VARIABLES)
    assert [chart.title for chart in bands.chart] == VARIABLES[::-1]  # drawn from the last
    for chart in bands.chart:
        [series] = chart.margin.series
        assert {series.value, series.lower, series.upper} <= set(log.tags)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real TensorBoard over two runs; gives its address."""
    folder = tmp_path_factory.mktemp("tensorboard")
    for optimizer in (keras_lecture_opt.Adam(), optimizers.Adam()):
        run = folder / type(optimizer).__module__.partition(".")[0]
        monitor = detailed(run, 5, write_images=True)
        fit(network(optimizer), monitor, keras.callbacks.TensorBoard(run))
    return screenshots.serve(folder)


def get(server, path, **query):
    with urllib.request.urlopen(f"{server}{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)


@pytest.mark.full
def test_a_real_server_answers(server):
    runs = ["keras/train", "keras_lecture_opt/train"]
    tags = get(server, "data/plugin/scalars/tags")
    for run in runs:
        scalars = {tag for tag, plugin in expected_tags().items() if plugin == "scalars"}
        assert scalars <= tags[run].keys()
        query = {"run": run, "tag": "effective_lr/dense/kernel"}
        assert [step for _, step, _ in get(server, "data/plugin/scalars/scalars", **query)] == [
            5,
            10,
        ]
        query = {"run": run, "tag": "effective_lr_histogram/dense/kernel"}
        for _, _, bars in get(server, "data/plugin/histograms/histograms", **query):
            assert sum(count for _, _, count in bars) == 32
        query = {"run": run, "tag": "effective_lr_map/dense/kernel", "sample": 0}
        assert [i["step"] for i in get(server, "data/plugin/images/images", **query)] == [5, 10]
    layout = get(server, "data/plugin/custom_scalars/layout")
    assert [chart["title"] for chart in layout["category"][1]["chart"]] == VARIABLES[::-1]
    active = get(server, "data/plugins_listing")
    for plugin in ("scalars", "histograms", "images", "custom_scalars", "text", "hparams"):
        assert active[plugin]["enabled"], plugin


@pytest.mark.skipif(bool(screenshots.missing()), reason=f"not installed: {screenshots.missing()}")
@pytest.mark.full
def test_the_page_in_a_browser(server):
    kernel = "dense/kernel"
    with screenshots.browser(height=4000) as driver:  # it draws the cards in view
        driver.get(f"{server}?tagFilter=dense%2Fkernel#timeseries")
        kinds = ("effective_lr", "effective_lr_histogram", "effective_lr_map", "never_updated")
        screenshots.wait_for(driver, *(f"{kind}/{kernel}" for kind in kinds))
        driver.get(f"{server}#custom_scalars")
        screenshots.wait_for(driver, "from the 5th to the 95th percentile", *VARIABLES)
        driver.get(f"{server}#hparams")
        screenshots.wait_for(driver, "keras-", "learning_rate", "metrics/loss")

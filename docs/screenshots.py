"""Take the README's and the monitor's pictures of TensorBoard: `make figures`.

    python docs/screenshots.py

Most show the reference runs in tb_logs. Two runs are trained for their pictures. Needs Chromium and
its driver (Debian: `apt-get install chromium chromium-driver`).
"""

import argparse
import contextlib
import io
import pathlib
import shutil
import sys
import tempfile
import time
import urllib.parse
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from tensorboard import program

import keras_lecture_opt

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "examples"))
import _programs

from keras_lecture_opt import explorer, mnist

ROOT = pathlib.Path(__file__).resolve().parents[1]
SERIES = ("Close side pane",)
SADDLE = (  # the setting of the explorer
    "example=saddle&surface=saddle&start=-0.01,-1&steps=3500&step=150"
    "&rules=SteepestDescent,Momentum,Nesterov,"
    "AdaGrad,RMSProp,SimplifiedAdam,Adam&learning_rate=0.01"
)
LOG_SCALE = (*SERIES, "More line chart options", "Toggle Y-axis log scale on line chart")
EVERY_CURVE = (*LOG_SCALE, "Expand Table")  # also those that coincide


class Picture(NamedTuple):
    """What a picture shows.

    Attributes:
        name: of its file, after "tensorboard_".
        folder: of the runs, below that of the reference or of the trained ones.
        tab: of TensorBoard, as its address names it.
        texts: what the page must show.
        cards, runs: regular expressions that choose them.
        clicks: labels of what to click.
        height: of the window, in pixels.
    """

    name: str
    folder: str
    tab: str
    texts: tuple
    cards: str = ""
    runs: str = ""
    clicks: tuple = ()
    height: int = 900


KERNELS = "/(hidden|output).*kernel"
HISTOGRAM, MAP = "effective_lr_histogram/hidden_1/kernel", "effective_lr_map/hidden_1/kernel"
PICTURES = (
    Picture(
        "median",
        "reference",
        "timeseries",
        ("effective_lr/hidden_1/kernel",),
        f"^effective_lr{KERNELS}",
        "/train",
        EVERY_CURVE,
        840,
    ),
    Picture(
        "steps",
        "reference",
        "timeseries",
        ("step_to_weight/hidden_1/kernel",),
        f"^step_to_weight{KERNELS}",
        "/train",
        EVERY_CURVE,
        840,
    ),
    Picture(
        "where",
        "reference",
        "timeseries",
        (HISTOGRAM, MAP),
        f"^({HISTOGRAM}|{MAP})",
        "^(AdaGrad|Adam|SteepestDescent)/train",
        SERIES,
        980,
    ),
    Picture(
        "quantiles",
        "reference/Adam",
        "custom_scalars",
        ("from the 5th to the 95th percentile", "hidden_1/kernel"),
        # A rate near 5 in a band up to 7,000 can be seen on a log axis only.
        clicks=("Toggle y-axis log scale", "Fit domain to data"),
    ),
    Picture(
        "hparams",
        "reference",
        "hparams",
        ("SteepestDescent-", "momentum"),
        clicks=("momentum", "rho"),
    ),
    Picture(
        "layers",
        "resnet",
        "images",
        ("all_layers",),
        "step_to_weight",
        clicks=("Show actual image size",),
        height=980,
    ),
    Picture("verdicts", "broken", "text", ("diagnosis",), "diagnosis", height=560),
)


def train(folder, model, optimizer, epochs=1):
    """Train on some of MNIST's digits, in the size and the colors that the model takes."""
    (images, digits), _ = mnist.load()
    images, digits = images[:640], digits[:640]
    if model.input_shape[1] == 32:
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., np.newaxis].repeat(3, axis=3)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    monitor = keras_lecture_opt.EffectiveLearningRateMonitor(folder, update_freq=5)
    model.fit(images, digits, batch_size=32, epochs=epochs, callbacks=[monitor], verbose=0)


def train_runs(folder):
    """Train a network of 107 layers, and one whose learning rate is 100 times too high."""
    keras.utils.set_random_seed(0)
    resnet = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=10)
    train(folder / "resnet", resnet, keras_lecture_opt.Adam())
    train(folder / "broken", mnist.mlp(), keras_lecture_opt.Adam(0.1), epochs=3)


def missing():
    """Return which of the programs that a browser needs are missing."""
    return [name for name in ("chromium", "chromedriver") if not shutil.which(name)]


@contextlib.contextmanager
def browser(width=1280, height=1000):
    """Start headless Chromium, which contacts nobody outside this machine."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    # Who opens a page waits for what it shows. On a busy machine Chromium's driver sometimes waits
    # for a page that is there already, until it is killed.
    options.page_load_strategy = "none"
    for argument in (
        "--headless=new",
        "--no-sandbox",  # for root, in a container
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--hide-scrollbars",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


# TensorBoard consists of components, into which only a script can look.
ALL_NODES = """
    const nodes = [];
    const collect = (node) => {
        if (node.tagName === 'STYLE' || node.tagName === 'SCRIPT') return;
        nodes.push(node);
        if (node.shadowRoot) collect(node.shadowRoot);
        node.childNodes.forEach(collect);
    };
    if (document.body) collect(document.body);
"""


def wait_for(driver, *texts, seconds=60):
    """Wait until the page shows all the texts; raise TimeoutException if it never does."""
    # It splits the names of tags.
    script = f"""
        {ALL_NODES}
        const texts = nodes.filter((node) => node.nodeType === Node.TEXT_NODE);
        return texts.map((node) => node.textContent).join('');
    """
    WebDriverWait(driver, seconds, poll_frequency=0.5).until(
        lambda driver: all(text in driver.execute_script(script) for text in texts),
        f"The page does not show all of {texts}.",
    )


def serve(folder):
    """Start a TensorBoard in this process; return its address."""
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(folder), "--port", "0", "--load_fast", "false"])
    return server.launch()


def click(driver, label):
    """Click everything that can be clicked and has that label; raise ValueError if nothing has."""
    script = f"""
        {ALL_NODES}
        const found = nodes.filter((node) => {{
            const isBox = /CHECKBOX$/.test(node.tagName);
            const label = isBox ? node.textContent.trim() : node.ariaLabel || node.title;
            return (isBox || /BUTTON$/.test(node.tagName)) && label === arguments[0];
        }});
        found.forEach((node) => node.click());
        return found.length;
    """
    if not driver.execute_script(script, label):
        raise ValueError(f"The page has nothing to click that is called {label!r}.")
    time.sleep(1)  # what it opens moves into place


def take(picture, address):
    """Save a picture of the TensorBoard at that address."""
    query = {"runFilter": picture.runs, "tagFilter": picture.cards, "smoothing": 0}
    query |= {"_smoothingWeight": 0}  # what older tabs read, in the second query
    with browser(1500, picture.height) as driver:
        query = urllib.parse.urlencode(query)
        driver.get(f"{address}?{query}#{picture.tab}&{query}")
        wait_for(driver, *picture.texts)
        time.sleep(2)
        for label in picture.clicks:
            click(driver, label)
        driver.find_element("tag name", "body").send_keys(Keys.ESCAPE)  # closes a menu
        time.sleep(5)  # charts are drawn
        driver.save_screenshot(ROOT / "docs" / "figures" / f"tensorboard_{picture.name}.png")


def take_explorer(folder):
    """Save the picture of the explorer for notebooks in viewers that run no scripts."""
    explorer.save(folder / "page.html")
    with browser(1200, 1000) as driver:
        driver.get(f"{(folder / 'page.html').as_uri()}#{SADDLE}")
        wait_for(driver, "SimplifiedAdam in step 26")
        time.sleep(2)
        picture = Image.open(io.BytesIO(driver.get_screenshot_as_png()))
    picture = _programs.in_256_colors(picture)  # the notebook holds it
    picture.save(pathlib.Path(explorer.__file__).with_name("page.png"), optimize=True)


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trained = pathlib.Path(folder)
        train_runs(trained)
        addresses = {}
        for picture in PICTURES:
            is_reference = picture.folder.startswith("reference")
            runs = (ROOT / "tb_logs" if is_reference else trained) / picture.folder
            if runs not in addresses:
                addresses[runs] = serve(runs)
            take(picture, addresses[runs])
        take_explorer(trained)


if __name__ == "__main__":
    main()

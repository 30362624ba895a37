"""The interactive page: its paths are those of the classes, and a browser needs no network."""

import base64
import contextlib
import functools
import gzip
import html
import io
import json
import re
import runpy
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from common import imported
from matplotlib import pyplot as plt
from PIL import Image
from py_mini_racer import MiniRacer
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from keras_lecture_opt import AdaGrad, explorer
from keras_lecture_opt.landscapes import SURFACES, descend
from keras_lecture_opt.rules import RULES
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

screenshots = imported(Path(__file__).parents[1] / "docs" / "screenshots.py")
whole_page = functools.cache(explorer.page)

# Hyperparameters that a rule does not have are left out.
SETTINGS = (
    {"learning_rate": 0.003},
    {
        "learning_rate": 0.05,
        "momentum": 0.6,
        "rho": 0.7,
        "beta_1": 0.5,
        "beta_2": 0.95,
        "epsilon": 1e-3,
        "start": (0.5, -0.75),
        "velocity": (0.03, -0.02),
    },
)
# What a hurried author writes.
FAULTS = {
    "SteepestDescent": [("w = w - η * g", "w = w + η * g")],
    "Momentum": [("v = μ * v - η * g", "v = μ * v - (1 - μ) * η * g")],
    "Nesterov": [
        ("=> w + μ * v", "=> w"),
        ("v = μ * v - η * g;\n      θ = θ + (μ * v - η * g);", "θ = θ + (v = μ * v - η * g);"),
        ("const w = θ - μ * v", "const w = θ"),
    ],
    "AdaGrad": [("Math.sqrt(G) + ε", "Math.sqrt(G + ε)"), ("G + g * g", "0.1 + G + g * g")],
    "RMSProp": [("Math.sqrt(G) + ε", "Math.sqrt(G + ε)"), ("(1 - γ) * (g * g)", "g * g")],
    "SimplifiedAdam": [("Math.sqrt(v) + ε", "Math.sqrt(v + ε)"), ("rate * m", "rate * g")],
    "Adam": [
        ("v / (1 - β2 ** t)", "v"),
        ("m / (1 - β1 ** t)", "m"),
        ("β1 ** t", "β1 ** (t + 1)"),
        ("Math.sqrt(v̂) + ε", "Math.sqrt(v̂ + ε)"),
    ],
}


@contextlib.contextmanager
def engine(old="", new=""):
    """Yield a JavaScript engine that has read the formulas, with some of their text replaced."""
    formulas = "\n".join(map(explorer.read, explorer.FORMULAS))
    assert old in formulas
    with MiniRacer() as js:
        js.eval(formulas.replace(old, new) if old else formulas)
        yield js


def script(rule, surface, setting, steps=200):
    """Return the call that runs a descent in JavaScript, as JSON."""
    values = explorer.defaults(rule) | {k: setting[k] for k in HYPERPARAMETERS if k in setting}
    names = explorer.lecture()["hyperparameters"]
    arguments = (
        {names[k]["name"]: values[k] for k in explorer.defaults(rule)},
        setting.get("start", surface.start),
        setting.get("velocity", (0, 0)),
        steps,
    )
    return (
        f"JSON.stringify(descend(SURFACES.{surface.name.lower()}, {json.dumps(surface.domain)}, "
        f"RULES.{rule.__name__}, {', '.join(map(json.dumps, arguments))}))"
    )


def in_python(rule, surface, setting, steps=200):
    own = {k: setting[k] for k in explorer.defaults(rule) if k in setting}
    velocity = setting.get("velocity") if "velocity" in rule.slot_names else None
    return descend(surface, rule(**own), setting.get("start"), steps, velocity)


def check(result, descent):
    """Compare a descent in JavaScript with one in Python, all that it records."""
    js = json.loads(result)
    assert js["stopped"] == descent.stopped
    points, steps = js["path"], descent.steps
    for values, expected in (
        ([point["w"] for point in points], descent.path),
        ([point["loss"] for point in points], descent.losses),
        ([point["g"] for point in points[:steps]], descent.gradients),
        ([[w["rate"] for w in point["weights"]] for point in points[1:]], descent.rates),
    ):
        np.testing.assert_allclose(np.reshape(values, expected.shape), expected, rtol=1e-12)
    if descent.lookahead is not None:
        ahead = [point["ahead"] for point in points]
        np.testing.assert_allclose(ahead, descent.lookahead, rtol=1e-12)


@pytest.fixture
def optimized_graphs():
    """TensorFlow computes w ** 2 as w * w, as the page does: the last bits are the same."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options(before)


def test_the_page_and_the_class_agree(rule, optimized_graphs):
    """On every surface; and a fault in the page's formula is seen."""
    if rule.__name__ not in FAULTS:
        pytest.skip("The page shows the lecture's rules.")
    descents = [
        (script(rule, surface, setting), in_python(rule, surface, setting))
        for surface in SURFACES
        for setting in SETTINGS
    ]

    def check_all(*change):
        with engine(*change) as js:
            for call, descent in descents:
                check(js.eval(call), descent)

    check_all()
    for fault in FAULTS[rule.__name__]:
        with pytest.raises(AssertionError):
            check_all(*fault)


def test_step_that_is_not_finite():
    """On Beale's function the first gradient of w1 is 0, and 0 / 0 is NaN."""
    setting, (*_, beale, _) = {"epsilon": 0.0}, SURFACES
    descent = in_python(AdaGrad, beale, setting)
    assert descent.stopped == "step 1 is not finite"
    with engine() as js:
        check(js.eval(script(AdaGrad, beale, setting)), descent)


def test_the_page_is_one_small_file():
    assert len(whole_page().encode()) < 3e6
    assert not re.search(r"<(script|link|img|iframe)\b[^>]*\b(src|href)\s*=", whole_page())
    assert not re.search(r"@import|url\(\s*['\"]?http", whole_page())
    for rule in FAULTS:
        assert rule in explorer.lecture()["rules"]


def shown(monkeypatch):
    """The HTML that a notebook gets."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", outputs.append)
    explorer.show()
    return outputs[0].data


def test_it_is_saved_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "page", lambda: '<p title="η">')
    explorer.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == '<p title="η">'
    with pytest.raises(TypeError, match="`file` must be a string or a pathlib"):
        explorer.save(3)
    output = shown(monkeypatch)
    [frame] = re.findall(r'<iframe srcdoc="([^"]*)"', output)
    [packed] = re.findall(r'atob\("([^"]*)"\)', html.unescape(frame))
    assert gzip.decompress(base64.b64decode(packed)).decode() == '<p title="η">'
    [picture] = re.findall(r'<img src="data:image/png;base64,([^"]*)"', output)
    assert Image.open(io.BytesIO(base64.b64decode(picture))).width > 1000


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh.document", None)
    with pytest.raises(
        ImportError, match=r"^keras_lecture_opt.explorer needs the extra 'plot', pip install '.\[p"
    ):
        runpy.run_path(explorer.__file__)


class Browser:
    """What a visitor does with the page, and sees."""

    def __init__(self, driver, address):
        self.driver, self.address, self.visits = driver, address, 0

    def open(self, setting=""):
        self.visits += 1  # an address that differs only behind the # would not be loaded
        self.driver.get(f"{self.address}?{self.visits}{setting}")
        self.wait(
            f"return location.search === '?{self.visits}' && document.readyState === 'complete'"
            " && document.querySelector('#python code')?.textContent.length > 0"
        )

    def wait(self, condition):
        for _ in range(200):
            if self.driver.execute_script(condition):
                return
            time.sleep(0.05)
        raise AssertionError(condition)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).get_property("textContent")

    def data(self, source):
        """The columns that a picture is drawn from."""
        return self.driver.execute_script(
            "return Object.fromEntries(Object.entries(Bokeh.documents[0].get_model_by_name("
            "arguments[0]).data).map(([name, values]) => [name, [...values]]))",
            source,
        )

    def paths(self):
        paths = self.data("paths")
        return [np.transpose(pair) for pair in zip(paths["xs"], paths["ys"], strict=True)]

    def example(self, name):
        """Click an example, and stop it at its first step."""
        self.driver.execute_script(
            "[...document.querySelectorAll('#examples button')]"
            ".find(button => button.textContent === arguments[0]).click();"
            "for (const id of ['play', 'reset']) document.getElementById(id).click()",
            name,
        )

    def to_end(self):
        self.driver.execute_script(
            "const step = document.querySelector('#step'); step.value = step.max;"
            "step.dispatchEvent(new Event('input'))"
        )


@pytest.mark.skipif(bool(screenshots.missing()), reason=f"not installed: {screenshots.missing()}")
def test_the_page_in_a_browser(tmp_path, monkeypatch):
    """One start of the browser for all that a visitor can do."""
    file = tmp_path / "page.html"
    file.write_text(whole_page(), encoding="utf-8")
    notebook = tmp_path / "notebook.html"
    monkeypatch.setattr(explorer, "page", whole_page)
    notebook.write_text(shown(monkeypatch), encoding="utf-8")
    with screenshots.browser(width=1280, height=1000) as driver:
        page = Browser(driver, file.as_uri())
        page.open()
        assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
        formulas_are_the_tested_ones(driver)
        examples_do_what_their_python_does(page)
        setting_is_in_the_address(page)
        steps_are_taken(page)
        start_is_clicked_and_dragged(page)
        bad_input_is_refused(page)
        controls_have_names(driver)
        page_is_not_wider_than_a_phone(page)
        notebook_unpacks_the_page(page, notebook)
        errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert not errors


def notebook_unpacks_the_page(page, notebook):
    page.driver.get(notebook.as_uri())
    page.wait("return document.querySelector('iframe') !== null")
    page.driver.switch_to.frame(page.find("iframe"))
    page.wait("return document.querySelector('#python code')?.textContent.length > 0")
    page.example("Zigzag")
    assert "Momentum" in page.text("#python code")


def formulas_are_the_tested_ones(driver):
    """In Chromium they give the numbers that they give in the engine of the other tests."""
    calls = [
        script(rule, surface, setting)
        for rule in RULES
        if rule.__name__ in FAULTS
        for surface in SURFACES
        for setting in SETTINGS
    ]
    results = driver.execute_script(f"return [{', '.join(calls)}]")
    with engine() as js:
        assert results == [js.eval(call) for call in calls]


def examples_do_what_their_python_does(page):
    """Each is one click; the code that two of them show gives the path that is drawn."""
    buttons = page.driver.find_elements(By.CSS_SELECTOR, "#examples button")
    assert len(buttons) == 5
    for name in [button.text for button in buttons]:
        page.example(name)
        page.to_end()
        assert page.text("#sentence q")
        if name in ("Already optimal, but v ≠ 0", "Saddle"):
            code = {}
            exec(page.text("#python code"), code)
            plt.close("all")
            for path, descent in zip(page.paths(), code["descents"], strict=True):
                assert len(path) == descent.steps + 1
                np.testing.assert_allclose(path, descent.path, rtol=1e-9, atol=1e-12)
                if descent.stopped:
                    ended = f"{descent.rule} {descent.stopped}: w₁ is below −1.5"
                    assert ended in page.text("#status")


def setting_is_in_the_address(page):
    page.example("Bias correction")
    page.find("#forward").click()
    shown = page.driver.current_url.partition("#")[2]
    assert "surface=beale" in shown
    code, path = page.text("#python code"), page.paths()
    page.open(f"#{shown}")
    assert page.driver.current_url.partition("#")[2] == shown
    assert page.text("#python code") == code
    np.testing.assert_array_equal(page.paths(), path)
    page.open("#rules=Momentum&momentum=0.99&start=1,0.5&velocity=0.1,-0.1&steps=7&step=3&speed=20")
    assert "Momentum(learning_rate=0.01, momentum=0.99), start=(1, 0.5)" in page.text("code")
    assert "steps=7, velocity=(0.1, -0.1)" in page.text("code")
    assert page.text("#counter") == "step 3 of 7"


def steps_are_taken(page):
    page.example("Zigzag")
    counters = [page.text("#counter")]
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.HOME, Keys.ARROW_LEFT):
        page.find("#surface").send_keys(key)
        counters.append(page.text("#counter"))
    assert counters == [f"step {k} of 60" for k in (0, 1, 2, 1, 0, 0)]
    gradients = page.data("gradients")
    assert np.all(np.array(gradients["x_end"]) > gradients["x_start"])  # downhill from -1
    page.find("#play").click()
    page.wait("return document.querySelector('#step').valueAsNumber >= 2")
    page.find("#play").click()
    stopped_at = page.text("#counter")
    time.sleep(0.4)
    assert page.text("#counter") == stopped_at


def start_is_clicked_and_dragged(page):
    """Where the pointer is becomes the start, or the tip of the velocity."""
    pixels = """
        const surface = Bokeh.documents[0].get_model_by_name("surface");
        const view = Bokeh.index.get_one(surface);
        const box = view.el.getBoundingClientRect();
        return [box.x + view.frame.x_scale.compute(arguments[0]),
                box.y + view.frame.y_scale.compute(arguments[1])].map(Math.round);
    """
    page.open("#rules=Nesterov")
    driver = page.driver

    def move(x, y):
        x, y = driver.execute_script(pixels, x, y)
        pointer = ActionChains(driver, duration=20)
        pointer.w3c_actions.pointer_action.move_to_location(x, y)
        return pointer

    def numbers(*ids):
        return [float(page.find(f"#{i}").get_property("value")) for i in ids]

    move(0.5, 0.25).click().perform()
    page.wait("return document.querySelector('#w1').valueAsNumber > 0")
    assert numbers("w1", "w2") == pytest.approx((0.5, 0.25), abs=0.01)
    page.find("input[value=velocity]").click()
    move(0.5, 0.25).click_and_hold().perform()
    move(1, 0.5).perform()
    move(0.7, 0.15).release().perform()
    page.wait("return document.querySelector('#v2').valueAsNumber < 0")
    assert numbers("w1", "w2") == pytest.approx((0.5, 0.25), abs=0.01)
    assert numbers("v1", "v2") == pytest.approx((0.2, -0.1), abs=0.02)
    ahead = page.data("ahead")
    assert ahead["x"] == pytest.approx([0.5 + 0.9 * 0.2], abs=0.02)


def bad_input_is_refused(page):
    """What is wrong is said by name, and the setting stays."""
    page.open("#momentum=1.5")
    assert page.text("#error") == "The address: momentum must be a number in [0, 1], not 1.5."
    page.open("#surface=plane&rules=Adam")
    assert page.text("#error").startswith("The address: surface must be quadratic, saddle, ")
    page.open("#rules=Momentum")
    code = page.text("#python code")
    field = page.find("#momentum")
    field.clear()
    field.send_keys("7")
    assert page.text("#error") == "μ must be a number in [0, 1], not 7."
    assert page.text("#python code") == code
    page.find("#rule-Momentum").click()
    assert page.text("#python code") == "# No rule is switched on.\n"


def controls_have_names(driver):
    """A screen reader says what each control is."""
    nameless = """
        return [...document.querySelectorAll("header, main, header *, main *")]
            .filter((e) => ["BUTTON", "INPUT", "SELECT"].includes(e.tagName))
            .filter((e) => !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
            .map((e) => e.outerHTML);
    """
    assert driver.execute_script(nameless) == []


def page_is_not_wider_than_a_phone(page):
    size = {"width": 400, "height": 850, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.example("Saddle")
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 400

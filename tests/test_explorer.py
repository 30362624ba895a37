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

from keras_lecture_opt import AdaGrad, SteepestDescent, explorer
from keras_lecture_opt.landscapes import SURFACES, Surface, descend
from keras_lecture_opt.plots._surface import GREYS, shades
from keras_lecture_opt.rules import RULES
from keras_lecture_opt.rules._hyperparameters import HYPERPARAMETERS

screenshots = imported(Path(__file__).parents[1] / "docs" / "screenshots.py")
whole_page = functools.cache(explorer.page)

# Hyperparameters that a rule does not have are left out.
OTHERS = {
    "learning_rate": 0.05,
    "momentum": 0.6,
    "rho": 0.7,
    "beta_1": 0.5,
    "beta_2": 0.95,
    "epsilon": 1e-3,
    "start": (0.5, -0.75),
    "velocity": (0.03, -0.02),
}
# On every surface, and on one with other hyperparameters.
SETTINGS = [*((surface, {"learning_rate": 0.003}) for surface in SURFACES), (SURFACES[2], OTHERS)]
# What a hurried author writes.
FAULTS = {
    "SteepestDescent": [("w = w - η * g", "w = w + η * g")],
    "Momentum": [
        ("v = μ * v - η * g", "v = μ * v - (1 - μ) * η * g"),
        ("limit: ({ μ }) => 2 * (1 + μ),", "limit: () => 2,"),
    ],
    "Nesterov": [
        ("=> w + μ * v", "=> w"),
        ("v = μ * v - η * g;\n      θ = θ + (μ * v - η * g);", "θ = θ + (v = μ * v - η * g);"),
        ("const w = θ - μ * v", "const w = θ"),
        ("surface.hessian(...(ahead ?? w))", "surface.hessian(...w)"),
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
    return f"""((surface, rule, values, ...rest) => {{
        const run = descend(surface, {json.dumps(surface.domain)}, rule, values, ...rest);
        const at = (_, k) => stability(surface, rule, values, run.path, k + 1);
        return JSON.stringify({{ ...run, stability: run.path.slice(1).map(at) }});
    }})(SURFACES.{surface.name.lower()}, RULES.{rule.__name__}, ...{json.dumps(arguments)})"""


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
    # Beyond a million terms of the Hessian cancel.
    np.testing.assert_allclose(js["stability"], descent.stability, rtol=1e-9, atol=1e-12)
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
    """A fault in the page's formula is seen, too."""
    if rule.__name__ not in FAULTS:
        pytest.skip("The page shows the lecture's rules.")
    descents = [
        (script(rule, surface, setting), in_python(rule, surface, setting))
        for surface, setting in SETTINGS
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


def test_a_surface_is_the_formula_that_the_page_shows():
    """Read as a surface of one's own, it has the losses, gradients and second derivatives."""
    with engine() as js:
        for surface in SURFACES:
            lecture = f"SURFACES.{surface.name.lower()}"
            own = f"surfaceOf({lecture}.formula)"
            for point in np.random.default_rng(0).uniform(*np.transpose(surface.domain), (9, 2)):
                call = "(s => JSON.stringify([s.loss({0}), ...s.gradient({0})]))({1})"
                at = ", ".join(map(str, point))
                values = [json.loads(js.eval(call.format(at, s))) for s in (own, lecture)]
                np.testing.assert_allclose(*values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("formula", "python"),
    [
        ("w1^2 + 25 w2^2", "w1**2 + 25 * w2**2"),
        ("-w1**2 (1 - -w2)", "(-w1**2) * (1 - (-w2))"),
        ("w1 - (w2 - 1)/2 - w1/(w2 + 3)", "w1 - (w2 - 1) / 2 - w1 / (w2 + 3)"),
        ("(-w1)^2 + 2^w2 + w1^-2", "(-w1)**2 + 2**w2 + w1**(-2)"),
        ("sin(3 w1) + cos(w2) - exp(-w1^2) + log(4 + w2)", None),
        ("sqrt(w1 + 5) · tanh(w2) + cosh(w1/2)^1.5 + sqrt(2)", None),
        ("(w1 + 4)^(w2 + 3) − w₁³", None),
    ],
)
def test_own_surface_has_exact_derivatives(formula, python):
    """Those that TensorFlow gives for the Python that the page shows."""
    with engine() as js:
        if python:
            assert js.eval(f"surfaceOf({json.dumps(formula)}).python") == python
        shown = js.eval(f"surfaceOf({json.dumps(formula)}).python")
        function = eval(f"lambda w1, w2: {shown}", {"tf": tf})
        surface = Surface("own", function, ((-2, 2), (-2, 2)), (0.75, -0.5))
        descent = descend(surface, SteepestDescent(2.0**-20), steps=1)
        call = "(s => JSON.stringify([[s.loss({0})], s.gradient({0}), s.hessian({0})]))({1})"
        values = js.eval(call.format("0.75, -0.5", f"surfaceOf({json.dumps(formula)})"))
        loss, gradient, hessian = json.loads(values)
        np.testing.assert_allclose(loss, descent.losses[:1], rtol=1e-12)
        np.testing.assert_allclose(gradient, descent.gradients[0], rtol=1e-12)
        h11, h12, h22 = hessian
        largest = np.linalg.eigvalsh([[h11, h12], [h12, h22]]).max()
        np.testing.assert_allclose(largest * 2.0**-21, descent.stability[0], rtol=1e-10)


@pytest.mark.parametrize(
    ("formula", "what"),
    [
        ("w1^2 +", "it ends too early"),
        ("", "it ends too early"),
        ("x^2 + y^2", "“x” is not expected there"),
        ("w1 w3", "“w3” is not expected there"),
        ("sin w1", "“w1” is not expected there"),
        ("(w1 + 1", "it ends too early"),
        ("w1)", "“)” is not expected there"),
        ("w1 ^ ^ 2", "“^” is not expected there"),
        ("alert(w1)", "“alert” is not expected there"),
        ("constructor(w1)", "“constructor” is not expected there"),
        ("3 + sqrt(2)", "it has neither w1 nor w2"),
    ],
)
def test_wrong_formula_is_refused(formula, what):
    with engine() as js:
        message = js.eval(f"try {{ parse({json.dumps(formula)}) }} catch (e) {{ String(e) }}")
    assert message.startswith("RangeError: The formula must consist of w1, w2, numbers, + - * / ^")
    assert message.endswith(f"{what}.")


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_contours_are_those_of_the_pictures(surface):
    with engine() as js:
        call = f"shadesOf(SURFACES.{surface.name.lower()}.loss, {json.dumps(surface.domain)})"
        found = json.loads(js.eval(f"JSON.stringify({call})"))
    *_, levels, greys = shades(surface, points=len(found["shades"]))
    np.testing.assert_allclose(found["levels"], levels, rtol=1e-9)
    assert greys == GREYS
    # Each line is where the loss is the level, on a grid of straight lines.
    for level, line in zip(levels[1:-1], found["lines"], strict=True):
        w1, w2 = (np.array(line[axis], float) for axis in ("xs", "ys"))
        losses = surface(w1, w2).numpy()[~np.isnan(w1)]
        assert np.median(np.abs(losses - level)) < 0.02 * (levels[-1] - levels[0])


def test_the_page_is_one_small_file():
    assert len(whole_page().encode()) < 2e6
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
    with pytest.raises(IsADirectoryError, match=r"`file` .* cannot be written: it is a folder"):
        explorer.save(tmp_path)
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

    def equals_its_python(self):
        """The code that the page shows gives the paths that it draws."""
        code = {}
        exec(self.text("#python code"), code)
        plt.close("all")
        for path, descent in zip(self.paths(), code["descents"], strict=True):
            assert len(path) == descent.steps + 1
            np.testing.assert_allclose(path, descent.path, rtol=1e-9, atol=1e-12)

    def surface_pixels(self):
        """The picture of the surface, once it is drawn."""
        self.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        )
        png = self.find("#surface").screenshot_as_png
        return np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(int)

    def numbers(self, *ids):
        return [float(self.find(f"#{i}").get_property("value")) for i in ids]

    def pressed(self):
        """The examples whose buttons are pressed."""
        buttons = self.driver.find_elements(By.CSS_SELECTOR, "#examples [aria-pressed=true]")
        return [button.text for button in buttons]

    def type(self, selector, text):
        self.driver.execute_script(
            "const field = document.querySelector(arguments[0]); field.focus();"
            "field.value = arguments[1]; field.dispatchEvent(new Event('input')); field.blur()",
            selector,
            text,
        )

    def resize(self, width, height, mobile=False):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def bottom(self, selector):
        script = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom"
        return self.driver.execute_script(script, selector)

    def to_end(self):
        self.driver.execute_script(
            "const step = document.querySelector('#step'); step.value = step.max;"
            "step.dispatchEvent(new Event('input'))"
        )


@pytest.mark.skipif(bool(screenshots.missing()), reason=f"not installed: {screenshots.missing()}")
@pytest.mark.full
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
        it_opens_with_a_finished_lesson(page)
        formulas_are_the_tested_ones(driver)
        examples_do_what_their_python_does(page)
        setting_is_in_the_address(page)
        labels_lead_to_their_paths(page)
        rule_has_several_paths(page)
        surface_is_a_formula(page)
        steps_are_taken(page)
        keys_work_after_a_click(page)
        start_is_clicked_and_dragged(page)
        picture_is_saved(page, tmp_path)
        bad_input_is_refused(page)
        controls_have_names(driver)
        page_fits_its_screen(page)
        fingers_drag_the_start(page)
        notebook_unpacks_the_page(page, notebook)
        errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert not errors


def it_opens_with_a_finished_lesson(page):
    assert page.text("#counter") + page.find("#steps").get_property("value") == "step 60 of60"
    assert page.text("#sentence q").startswith("Zigzag behavior!")
    assert page.pressed() == ["Zigzag"]
    # 0.036 · 50 is 0.9 of the limit of steepest descent, and 0.6 of that of momentum.
    assert [page.text(f"#stability-{i}") for i in (0, 1)] == ["0.90", "0.60"]
    bounds = "SteepestDescent, here: zigzags above η = 0.02, diverges above 0.04."
    assert page.text("#bounds") == bounds
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".ticks i")) == 2


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
        for surface, setting in SETTINGS
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
        assert page.pressed() == [name]
        if name == "Saddle":
            assert "At (−0.01, −1), we have ∇L = (0.0003, −2)" in page.text("#sentence")
        if name in ("Optimal, but v ≠ 0", "Saddle"):
            page.equals_its_python()
            ended = "w₁ went below −1.5, where the surface ends: "
            assert page.text("#status").startswith(ended) == (name == "Saddle")
            assert ("SimplifiedAdam in step 26" in page.text("#status")) == (name == "Saddle")
    assert page.text("#counter") == "step 13 of"  # the bias correction is seen soon
    assert page.text("#status").endswith("where the surface ends: SimplifiedAdam in step 13.")


def setting_is_in_the_address(page):
    page.example("Bias correction")
    page.find("#forward").click()
    shown = page.driver.current_url.partition("#")[2]
    assert "surface=beale" in shown
    code, path, sentence = page.text("#python code"), page.paths(), page.text("#sentence")
    page.open(f"#{shown}")
    assert page.driver.current_url.partition("#")[2] == shown
    assert page.text("#python code") == code
    assert page.text("#sentence") == sentence  # which a link restores
    assert page.pressed() == ["Bias correction"]
    np.testing.assert_array_equal(page.paths(), path)
    page.find("#rule-Adam").click()
    assert page.text("#sentence") == ""  # it is not about what is shown
    page.open("#rules=Momentum&momentum=0.99&start=1,0.5&velocity=0.1,-0.1&steps=7&step=3&speed=20")
    assert "Momentum(learning_rate=0.01, momentum=0.99), start=(1, 0.5)" in page.text("code")
    assert "steps=7, velocity=(0.1, -0.1)" in page.text("code")
    assert page.text("#counter") == "step 3 of"
    page.open("#example=saddle")  # what a lecturer writes
    assert page.pressed() == ["Saddle"]
    assert page.find("#surfaces").get_property("value") == "saddle"
    assert len(page.data("paths")["xs"]) == len(RULES)


def labels_lead_to_their_paths(page):
    """Where labels would cover each other, a line of the path's color leads to its end."""
    page.example("Saddle")
    page.to_end()
    labels, colors = page.data("labels"), explorer.lecture()["rules"]
    assert labels["color"] == [colors[text]["colors"][0] for text in labels["text"]]
    led = np.array(labels["y"]) != labels["y_label"]
    assert led.any()
    assert not led.all()
    far = np.abs(labels["dy"]) > 12  # pixels
    assert led[far].all()


def rule_has_several_paths(page):
    """Each with its own values, its shade and its label."""
    page.open("#rules=Momentum,Adam&steps=40&step=40")
    page.find("#more-Momentum").click()
    page.type("#momentum", "0.5")
    assert page.data("labels")["text"].count("Momentum μ 0.5") == 1
    assert page.find("#moved").get_property("value") == "1"  # the sliders move the new one
    page.equals_its_python()
    paths = page.data("paths")
    assert len(set(paths["color"])) == 3
    shown = page.driver.current_url.partition("#")[2]
    assert "rules=Momentum,Momentum,Adam" in shown
    assert "momentum=0.9,0.5," in shown
    page.open(f"#{shown}")
    for axis in ("xs", "ys"):
        for path, before in zip(page.data("paths")[axis], paths[axis], strict=True):
            np.testing.assert_array_equal(path, before)
    page.type("#learning_rate", "0.02")  # of all
    assert page.text("#python code").count("learning_rate=0.02") == 3
    page.find("#rule-Momentum").click()
    assert page.text("#python code").count("Momentum(") == 1


def surface_is_a_formula(page):
    """Checked, in the address, and in the Python."""
    page.open("#rules=Nesterov,RMSProp&steps=60&step=60")
    page.driver.execute_script(
        "const select = document.querySelector('#surfaces'); select.value = 'a formula';"
        "select.onchange({ target: select })"
    )
    assert (
        page.find("#own-formula").get_property("value") == "w₁² + 25 w₂²"
    )  # the one that was shown
    code = page.text("#python code")
    page.type("#own-formula", "cosh(w1) + sin(3 w1")
    assert page.text("#error").endswith("cosh: it ends too early.")
    assert page.text("#python code") == code
    page.type("#own-formula", "cosh(w1) + sin(3 w1) w2 + w2^2")
    page.type("#domain", "3")
    assert page.text("#error") == ""
    assert "tf.cosh(w1) + tf.sin(3 * w1) * w2 + w2**2" in page.text("#python code")
    page.equals_its_python()
    path, shades = page.paths(), page.surface_pixels()
    page.open("#" + page.driver.current_url.partition("#")[2])
    np.testing.assert_array_equal(page.paths(), path)
    assert np.mean(page.surface_pixels() == shades) > 0.99  # those of the typed formula
    page.open("#surface=log(w1)&rules=Adam")  # no loss at (-1, -1)
    assert page.numbers("w1", "w2") == [1, -1]
    page.open("#surface=log(-w1^2)&rules=Adam")
    assert page.text("#error").endswith("start must be a point with a finite loss, not -1,-1.")


def steps_are_taken(page):
    page.example("Zigzag")
    counters = [page.text("#counter")]
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.HOME, Keys.ARROW_LEFT):
        page.find("#surface").send_keys(key)
        counters.append(page.text("#counter"))
    assert counters == [f"step {k} of" for k in (0, 1, 2, 1, 0, 0)]
    gradients = page.data("gradients")
    assert np.all(np.array(gradients["x_end"]) > gradients["x_start"])  # downhill from -1
    assert gradients["alpha"][0] == 1  # the longest
    page.to_end()
    assert max(page.data("gradients")["alpha"]) < 0.2
    page.find("#reset").click()
    page.find("#play").click()
    page.wait("return document.querySelector('#step').valueAsNumber >= 2")
    page.find("#play").click()
    page.wait("return document.querySelector('#play').textContent === '▶ Play'")
    stopped_at = page.text("#counter")
    time.sleep(0.4)
    assert page.text("#counter") == stopped_at


def keys_work_after_a_click(page):
    """A presenter's, too; but not in fields and on sliders."""
    page.open("#rules=Momentum&step=5")

    def press(key):
        ActionChains(page.driver).send_keys(key).perform()
        return page.text("#counter")

    page.find("#forward").click()
    assert press(Keys.PAGE_DOWN) == "step 7 of"
    assert press(Keys.PAGE_UP) == "step 6 of"
    page.find("#rule-Adam").click()
    assert press(Keys.ARROW_RIGHT) == "step 7 of"
    page.find("#reset").click()
    press(Keys.SPACE)  # does not press the button again
    page.wait("return document.querySelector('#step').valueAsNumber >= 2")
    press(Keys.SPACE)
    step = page.text("#counter")
    page.find("#steps").click()
    assert press(Keys.ARROW_LEFT) == step
    page.find("#momentum-range").click()  # a presenter goes on after a slider was moved
    before, at = page.find("#momentum").get_property("value"), int(step.split()[1])
    assert press(Keys.PAGE_DOWN) == f"step {at + 1} of"
    assert page.find("#momentum").get_property("value") == before
    press(Keys.TAB)  # with the keyboard alone, keys move the slider
    page.driver.execute_script("document.querySelector('#momentum-range').focus()")
    assert press(Keys.ARROW_LEFT) == f"step {at + 1} of"
    assert page.find("#momentum").get_property("value") != before
    # and Space presses the button with the focus
    page.driver.execute_script("document.querySelector('#reset').focus()")
    assert press(Keys.SPACE) == "step 0 of"


PIXELS = """
    const surface = Bokeh.documents[0].get_model_by_name("surface");
    const view = Bokeh.index.get_one(surface);
    const box = view.el.getBoundingClientRect();
    return [box.x + view.frame.x_scale.compute(arguments[0]),
            box.y + view.frame.y_scale.compute(arguments[1])].map(Math.round);
"""


def start_is_clicked_and_dragged(page):
    """Where the pointer is becomes the start, or the tip of the velocity."""
    page.open("#rules=Nesterov")
    driver = page.driver

    def move(x, y):
        x, y = driver.execute_script(PIXELS, x, y)
        pointer = ActionChains(driver, duration=20)
        pointer.w3c_actions.pointer_action.move_to_location(x, y)
        return pointer

    move(0.5, 0.25).click().perform()
    page.wait("return document.querySelector('#w1').valueAsNumber > 0")
    assert page.numbers("w1", "w2") == pytest.approx((0.5, 0.25), abs=0.01)
    page.find("input[value=velocity]").click()
    move(0.5, 0.25).click_and_hold().perform()
    move(1, 0.5).perform()
    move(0.7, 0.15).release().perform()
    page.wait("return document.querySelector('#v2').valueAsNumber < 0")
    assert page.numbers("w1", "w2") == pytest.approx((0.5, 0.25), abs=0.01)
    assert page.numbers("v1", "v2") == pytest.approx((0.2, -0.1), abs=0.02)
    ahead = page.data("ahead")
    assert ahead["x"] == pytest.approx([0.5 + 0.9 * 0.2], abs=0.02)


def fingers_drag_the_start(page):
    """On a phone: the page does not scroll away under the finger."""
    page.open("#rules=Nesterov&zoom=false")
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def touch(kind, *point):
        points = []
        if point:
            x, y = page.driver.execute_script(PIXELS, *point)
            points = [{"x": x, "y": y}]
        event = {"type": f"touch{kind}", "touchPoints": points}
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    for x, y in ((0.5, 0.25), (-0.5, 1), (1.5, -1)):
        touch("Start", -1, -1)
        for share in (0.25, 0.5, 0.75, 1):
            touch("Move", -1 + share * (x + 1), -1 + share * (y + 1))
        touch("End")
        assert page.numbers("w1", "w2") == pytest.approx((x, y), abs=0.02)
        assert page.driver.execute_script("return scrollY") == 0
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def picture_is_saved(page, folder):
    """As a PNG that holds the surface, both charts and the hyperparameters."""
    behavior = {"behavior": "allow", "downloadPath": str(folder)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
    page.example("Zigzag")
    page.to_end()
    page.find("#save").click()
    file = folder / "explorer.png"
    for _ in range(200):
        if file.exists() and file.stat().st_size:
            break
        time.sleep(0.05)
    picture = np.asarray(Image.open(file).convert("RGB"))
    assert picture.shape[1] > 800
    assert np.all(picture == (0xE6, 0x9F, 0x00), axis=2).sum() > 500  # momentum


def bad_input_is_refused(page):
    """What is wrong is said by name, and the setting stays."""
    page.open("#momentum=1.5&rules=Momentum")
    assert page.text("#error") == "The address: momentum must be a number in [0, 1], not 1.5."
    page.open("#momentum=0.5,0.9&rules=Momentum")
    assert "momentum must be one number, or one for each rule" in page.text("#error")
    page.open("#surface=plane&rules=Adam")
    surfaces = "quadratic, saddle, rosenbrock, beale, himmelblau or a formula"
    assert page.text("#error") == f"The address: surface must be {surfaces}, not plane."
    assert page.driver.current_url.endswith("#surface=plane&rules=Adam")  # to be corrected
    page.open("#rule=Adam")
    assert page.text("#error").startswith("The address: a name must be surface, domain, rules, ")
    page.open("#example=none")
    assert page.text("#error").startswith("The address: example must be zigzag, optimal, ")
    page.open("#rules=Momentum")
    code = page.text("#python code")
    page.type("#momentum", "7")
    assert page.text("#error") == "μ must be a number in [0, 1], not 7."
    assert page.text("#python code") == code
    page.type("#w1", "9")
    assert page.text("#error") == "w₁ must be from −2 to 2, not 9."
    page.example("Saddle")
    assert page.text("#error") == ""
    assert not page.driver.find_elements(By.CSS_SELECTOR, "[aria-invalid=true]")
    page.open("#rules=Momentum")
    page.find("#rule-Momentum").click()
    assert page.text("#python code") == "# No rule is switched on.\n"


def controls_have_names(driver):
    """A screen reader says what each control is."""
    nameless = """
        return [...document.querySelectorAll("main, main *, section *")]
            .filter((e) => ["BUTTON", "INPUT", "SELECT"].includes(e.tagName))
            .filter((e) => !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
            .map((e) => e.outerHTML);
    """
    assert driver.execute_script(nameless) == []


def page_fits_its_screen(page):
    """A projector shows all charts at once, and a phone needs no scrolling sideways."""
    page.resize(1024, 768)
    page.example("Saddle")
    page.to_end()
    for selector in ("#play", "#surface", "#loss", "#rates", "#learning_rate", "#w1"):
        assert page.bottom(selector) <= 768
    page.resize(400, 850, mobile=True)
    for name in ("Saddle", "Bias correction"):
        page.example(name)
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 400
    assert page.bottom("#play") < page.bottom("#surface") < 850

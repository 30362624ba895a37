"""Take the README's pictures of TensorBoard over the reference runs: `make figures`.

    python docs/screenshots.py

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`).
"""

import argparse
import contextlib
import pathlib
import shutil
import time
import urllib.parse

from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from tensorboard import program

ROOT = pathlib.Path(__file__).resolve().parents[1]
TITLE = "effective_lr{}/hidden_1/kernel"
PICTURES = {  # name: (runs, cards, texts to wait for, height)
    "median": ("/train", "^effective_lr/(hidden|output).*kernel", [TITLE.format("")], 700),
    "where": (
        "^(AdaGrad|Adam|SteepestDescent)/train",
        "^effective_lr_(hist|map).*/hidden_1/kernel",
        [TITLE.format("_histogram"), TITLE.format("_map")],
        980,
    ),
}


def missing():
    """Return which of the programs that a browser needs are missing."""
    return [name for name in ("chromium", "chromedriver") if not shutil.which(name)]


@contextlib.contextmanager
def browser(width=1280, height=1000):
    """Start headless Chromium, which contacts nobody outside this machine."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
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


def wait_for(driver, *texts, seconds=60):
    """Wait until the page shows all the texts; raise TimeoutException if it never does."""
    # TensorBoard consists of components whose text only the browser can assemble, and it splits
    # the names of tags.
    script = """
        const texts = [];
        const collect = (node) => {
            if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
            if (node.tagName === 'STYLE' || node.tagName === 'SCRIPT') return;
            if (node.shadowRoot) collect(node.shadowRoot);
            node.childNodes.forEach(collect);
        };
        collect(document.body);
        return texts.join('');
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
    """Click every button with that label."""
    driver.execute_script(
        f"document.querySelectorAll('button[aria-label=\"{label}\"]').forEach((b) => b.click())"
    )
    time.sleep(1)  # what it opens moves into place


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    address = serve(ROOT / "tb_logs" / "reference")
    for name, (runs, cards, texts, height) in PICTURES.items():
        query = {"runFilter": runs, "tagFilter": cards, "smoothing": 0}
        with browser(1500, height) as driver:
            driver.get(f"{address}?{urllib.parse.urlencode(query)}#timeseries")
            wait_for(driver, *texts)
            for button in (
                "Close side pane",
                "More line chart options",
                "Toggle Y-axis log scale on line chart",
            ):
                click(driver, button)
            driver.find_element("tag name", "body").send_keys(Keys.ESCAPE)  # closes a menu
            time.sleep(5)  # charts are drawn
            driver.save_screenshot(ROOT / "docs" / "figures" / f"tensorboard_{name}.png")


if __name__ == "__main__":
    main()

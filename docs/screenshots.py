"""Take the README's pictures of TensorBoard over the reference runs: `make figures`.

    python docs/screenshots.py

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`).
"""

import contextlib
import pathlib
import shutil
import urllib.parse

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from tensorboard import program

ROOT = pathlib.Path(__file__).resolve().parents[1]
PICTURES = {  # name: (address, texts to wait for, size)
    "median": (
        "?" + urllib.parse.urlencode({"smoothing": 0, "tagFilter": "^effective_lr/.*kernel"}),
        ["effective_lr/hidden_1/kernel", "effective_lr/output/kernel"],
        (1280, 1000),
    ),
    "where": (
        "?" + urllib.parse.urlencode({"tagFilter": "^effective_lr_(hist|map).*/hidden_1/kernel"}),
        ["effective_lr_histogram/hidden_1/kernel", "effective_lr_map/hidden_1/kernel"],
        (1280, 1000),
    ),
}


def missing():
    """Which of the programs that a browser needs are not there."""
    return [name for name in ("chromium", "chromedriver") if not shutil.which(name)]


@contextlib.contextmanager
def browser(width=1280, height=1000):
    """Headless Chromium, which asks nobody outside this machine."""
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
    """Waits until the page shows all the texts; raises TimeoutException if it never does."""
    # TensorBoard is made of components, whose text only the browser can put together; it breaks
    # the names of tags into parts.
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
    """Starts a TensorBoard in this process; returns its address."""
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(folder), "--port", "0", "--load_fast", "false"])
    return server.launch()


def main():
    address = serve(ROOT / "tb_logs" / "reference")
    for name, (page, texts, size) in PICTURES.items():
        with browser(*size) as driver:
            driver.get(f"{address}{page}#timeseries")
            wait_for(driver, *texts)
            driver.save_screenshot(ROOT / "docs" / "figures" / f"tensorboard_{name}.png")


if __name__ == "__main__":
    main()

"""Run the lecture's notebook and keep what it shows: `make lecture-figures`.

python docs/execute_notebook.py
"""

import argparse
import base64
import copy
import io
import pathlib
import re
import sys
import tempfile

import nbclient
import nbformat
from PIL import Image

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "examples"))
import _programs

NOTEBOOK = pathlib.Path(__file__).resolve().parents[1] / "examples" / "lecture.ipynb"


def execute(notebook):
    """Fill the notebook with the outputs of a new run, equal in every run, and small."""
    metadata = copy.deepcopy(notebook.metadata)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(
            notebook, timeout=600, record_timing=False, resources=resources
        ).execute()
    notebook.metadata = metadata  # the run has added the version of Python
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
            if "text/plain" in data:
                data["text/plain"] = re.sub(" at 0x[0-9a-f]+", "", data["text/plain"])


def smaller(png):
    """Return a picture in 256 colors, as base64."""
    picture, smaller = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    _programs.in_256_colors(picture).save(smaller, "png", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode()


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    execute(notebook)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()

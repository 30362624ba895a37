"""What mkdocs.yml cannot say: which files the site has, and how a docstring is read. `make docs`.

In the site each file has the path that it has in the repository, so that a link works in both. A
file of code is a page, too: of a rule, of a module's public names, or of the code.
"""

import inspect
import pathlib
import re
from html import unescape

import griffe
import nbconvert
import rule_page
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

from keras_lecture_opt.monitor._quantities import in_docstring
from keras_lecture_opt.rules import RULES

ROOT = pathlib.Path(__file__).resolve().parents[1]
PICTURE = (
    "![The explorer: paths on a surface, losses, effective learning rates, sliders]"
    "(../keras_lecture_opt/explorer/page.png)"
)
# The explorer in the site's page: as high as what it shows, in the scheme of the site, and with a
# first screen of what the site's bar leaves. The two talk by messages: a page from a file may not
# look into its frame.
FRAME = """<p class="explorer"><a href="explorer.html">Open it alone</a>, for a projector.</p>

<iframe class="explorer" src="explorer.html" title="The explorer"></iframe>

<script>
{
  const frame = document.querySelector("iframe.explorer");
  const tell = () => frame.contentWindow.postMessage({
    scheme: document.body.dataset.mdColorScheme === "slate" ? "dark" : "light",
    screen: `${innerHeight - frame.getBoundingClientRect().top - scrollY - 16}px`,
  }, "*");
  addEventListener("resize", tell);
  addEventListener("message", ({ source, data }) => {
    if (source !== frame.contentWindow || !(data.height > 0)) return;
    frame.style.height = `${data.height + 8}px`;
    tell();
  });
  new MutationObserver(tell).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
}
</script>
"""
# What the explorer of the site has beside: its end of the talk, and when it is alone the way back.
HEADING = "<h1>Seven update rules on five surfaces</h1>"
IN_SITE = """<a href="watch.html" id="site">← All pages</a>
<script>
if (parent !== window) {
  document.getElementById("site").remove();
  addEventListener("message", ({ source, data }) => {
    if (source !== parent || !data.scheme) return;
    document.documentElement.dataset.scheme = data.scheme;
    document.documentElement.style.setProperty("--screen", data.screen);
  });
  new ResizeObserver(() => parent.postMessage({ height: document.body.offsetHeight }, "*"))
    .observe(document.body);
}
</script>
"""
COPIED = ("*.md", "docs/**/*.*", "benchmarks/*.txt", "benchmarks/*.png")
CODE = ("keras_lecture_opt/**/*.py", "keras_lecture_opt/**/*.js", "tests/reference.py")
CODE += ("benchmarks/*.py", "docs/**/*.py", "examples/*.py")


def path(file):
    """Return a file's path within the repository."""
    return pathlib.Path(file).resolve().relative_to(ROOT).as_posix()


RULE_OF_FILE = {path(inspect.getsourcefile(rule)): rule for rule in RULES}


class Page(File):
    """A page, whatever its name ends in."""

    def is_documentation_page(self):
        return True


def on_config(config):
    """Put the rules after "Which one?"."""
    [rules] = [entry["Rules"] for entry in config.nav if "Rules" in entry]
    rules[1:1] = [{rule.__name__: file} for file, rule in RULE_OF_FILE.items()]


def on_files(files, config):
    """Return the theme's files and the repository's."""
    site = Files([file for file in files if file.src_dir != config.docs_dir])
    nav = str(config.nav)
    for name, content in {**copied(), **explorer(), **home(), **notebook(), **code(nav)}.items():
        kind = Page if isinstance(content, str) else File
        file = kind.generated(config, name, content=content)
        if not name.endswith(".md") and name not in nav:
            file.inclusion = InclusionLevel.NOT_IN_NAV
        if kind is Page and name.endswith((".py", ".js")) and name not in nav:
            # docs/seeds.py has another address than docs/seeds.md.
            file.dest_uri = f"{name}.html"
        site.append(file)
    addresses = [file.dest_uri for file in site]
    if twice := {address for address in addresses if addresses.count(address) > 1}:
        raise PluginError(f"Several files have one address: {', '.join(sorted(twice))}.")
    return site


def found(patterns):
    """Return the files that match, by their path."""
    return {path(file): file for pattern in patterns for file in ROOT.glob(pattern)}


def copied():
    """Return the content of each file that is as it is, by its path: text if it is a page."""
    return {
        name: file.read_text("utf-8") if name.endswith(".md") else file.read_bytes()
        for name, file in found(COPIED).items()
        if file.suffix not in (".py", ".pyc")
    }


def explorer():
    """Return the explorer, which `make docs` writes, as the site has it."""
    name = "docs/explorer.html"
    before, heading, after = (ROOT / name).read_text("utf-8").partition(HEADING)
    if not heading:
        raise PluginError(f"{name} lacks the heading beside which the site puts its link.")
    return {name: (before + heading + IN_SITE + after).encode()}


def home():
    """Return the README as two pages: the quick start is one of its own."""
    home, *sections = re.split(r"^(?=## )", (ROOT / "README.md").read_text("utf-8"), flags=re.M)
    [start] = [section for section in sections if section.startswith("## Quick start")]
    sections.remove(start)
    return {"README.md": "".join([home, *sections]), "quick_start.md": start.removeprefix("#")}


def notebook():
    """Return the notebook, with the outputs that it has, and its pictures."""
    file = ROOT / "examples" / "lecture.ipynb"
    text, resources = nbconvert.MarkdownExporter().from_filename(file)
    pictures = {f"examples/{name}": picture for name, picture in resources["outputs"].items()}
    return {path(file): text, **pictures}


def code(nav):
    """Return the pages of the code, and the pictures of the rules."""
    pages = {}
    for name, file in found(CODE).items():
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if rule := RULE_OF_FILE.get(name):
            pages[name] = rule_page.text(rule)
            pages[f"{file.parent.relative_to(ROOT)}/{rule.__name__}.png"] = rule_page.picture(rule)
        elif name in nav:
            pages[name] = f"::: {module}\n"
        else:
            text = file.read_text("utf-8")
            pages[name] = (
                "---\nsearch:\n  exclude: true\n---\n\n"
                f"# {file.name}\n\n````{file.suffix[1:]}\n{text}````\n"
            )
    return pages


def on_page_markdown(markdown, page, **_):
    """Put the explorer where its picture is, as wide as the window: a forge shows no frame."""
    if PICTURE in markdown:
        page.meta["hide"] = ["navigation", "toc"]
    # A session: only then is its copy free of prompts.
    markdown = markdown.replace("```python\n>>>", "```pycon\n>>>")
    return markdown.replace(PICTURE, FRAME)


def on_page_content(html, **_):
    """Write formulas in MathML, which a browser shows without a library."""
    found = r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>'
    kinds = {"span": "inline", "div": "block"}
    html = re.sub(found, lambda m: convert(unescape(m[2]), display=kinds[m[1]]), html, flags=re.S)
    html = html.replace("&#x003F5;", "ε")  # as prose has it
    return html.replace(' accent="true"', "")  # Chromium puts an accent through its letter


class Docstrings(griffe.Extension):
    """Rewrites this project's docstrings, which have Keras's form, for mkdocstrings."""

    def on_object(self, *, obj, **_):
        if obj.name.startswith("__"):
            obj.docstring = None  # and so it is not shown: Python calls it, no reader does
        elif obj.docstring:
            obj.docstring.value = google(in_docstring(obj.docstring.value))


def google(docstring):
    """Return a docstring in Google's form, with formulas in TeX."""
    text, title, examples = docstring.partition("Example:\n\n")
    examples = re.sub(r"^(?=.)", "    ", examples, flags=re.MULTILINE)
    text = re.sub(r"::\n\n((?: {4}.*\n)+)", formulas, text)
    # Prose, but no names of arguments and no code.
    parts = re.split(r"(\$\$.*?\$\$|`[^`]*`|^ *\w+:)", text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = map(rule_page.in_prose, parts[::2])
    text = "".join(parts)
    # `a, b: what they are` is said of each.
    text = re.sub(r"^( +)(\w+), (\w+): (.*(?:\n\1 +.*)*)", r"\1\2: \4\n\1\3: \4", text, flags=re.M)
    return text + title.replace(":\n\n", "s:\n") + examples


def formulas(block):
    """Return a docstring's block of formulas, aligned at their arrows."""
    lines = [rule_page.tex(line.strip()) for line in block[1].splitlines()]
    aligned = r" \\ ".join(lines).replace(r"\leftarrow", r"&\leftarrow")
    return f":\n\n$$\\begin{{align*}} {aligned} \\end{{align*}}$$\n"

"""What the site has beside the pages of docs/: the reference, notebooks that have been run, and checks.

mkdocs.yml names this file. ``mkdocs build --strict`` builds and checks everything without a network; a
warning of these hooks is an error there.
"""

from __future__ import annotations

import ast
import logging
import os
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LOG = logging.getLogger("mkdocs.hooks.site")

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "examples/verl/README.md": "examples-verl.md",
    "igpo_gym/models/nano/README.md": "model-nano.md",
}
"""Pages of the repository outside of docs/, and where the site has them."""

COLLECTED = "<!-- collected: not verified -->"
"""Where a page shows what all pages say to be unverified."""

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the modules of the package into the navigation."""
    (reference,) = (entry["Reference"] for entry in config.nav or [] if "Reference" in entry)
    reference.extend(navigation(sorted(modules())))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made: the reference, notebooks, and pages from outside of docs/."""
    for name in modules():
        content = f"::: {name}\n" if name != "igpo_gym" else f"::: {name}\n\n{surface()}"
        files.append(File.generated(config, page_of(name), content=content))
    for source, target in OUTSIDE.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        page, pictures = executed(notebook.read_text(encoding="utf-8"))
        files.remove(files.src_uris[f"notebooks/{notebook.name}"])
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show why a block is not run, lead links out of docs/ to pages of the site, and fill in collections."""
    markdown = re.sub(r"<!-- skip: (.+) -->\n", r"*Not run by the tests: \1.*{.skipped}\n\n", markdown)
    markdown = re.sub(r"<!-- slow -->\n", "", markdown)
    if COLLECTED in markdown:
        markdown = markdown.replace(COLLECTED, collected())
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)  # every second one is code, and stays
    for place in range(0, len(parts), 2):
        parts[place] = _LINK.sub(lambda link: inside(link[1], link[2], page), parts[place])
    return "".join(parts)


def on_post_build(config: MkDocsConfig) -> None:
    """Warn of links that lead nowhere, and of anything that a page would load from a network."""
    site = Path(config.site_dir)
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    names = {path: set(re.findall(r'\s(?:id|name)="([^"]+)"', text)) for path, text in pages.items()}
    for path, text in pages.items():
        place = path.relative_to(site)
        for loaded in re.findall(r'<(?:script|img|iframe|source)\b[^>]*\ssrc="?([^"\s>]+)', text) + [
            target
            for kind, target in re.findall(r'<link rel="?([\w ]+)"? href="?([^"\s>]+)', text)
            if kind in {"stylesheet", "preconnect", "icon", "preload"}
        ]:
            if urlsplit(loaded).netloc:
                LOG.warning("%s loads %s from a network", place, loaded)
        if path.name == "404.html":
            continue
        for href in re.findall(r'<a\b[^>]*\shref="([^"]+)"', text):
            target = urlsplit(href)
            if target.scheme or target.netloc:
                continue
            led = Path(posixpath.normpath(path.parent / unquote(target.path))) if target.path else path
            led = led / "index.html" if led.is_dir() else led
            anchor = unquote(target.fragment)
            if not led.exists() or (anchor and led in names and anchor not in names[led]):
                LOG.warning("%s: %s leads nowhere", place, href)


@cache
def modules() -> tuple[str, ...]:
    """The public modules of the package: those without an underscore in front of a part of their name."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "igpo_gym").rglob("*.py"))
    parts = (path.parts[:-1] if path.name == "__init__" else path.parts for path in paths)
    return tuple(sorted(".".join(part) for part in parts if not any(each.startswith("_") for each in part)))


def page_of(module: str) -> str:
    """The page of a module."""
    return f"reference/{module}.md"


def navigation(names: list[str], above: str = "igpo_gym") -> list[dict[str, Any]]:
    """The entries below a package: a module's page, or a section that begins with the package's own."""
    entries: list[dict[str, Any]] = []
    for name in names:
        if name.rpartition(".")[0] != above:
            continue
        title = name.rpartition(".")[2]
        below = navigation([each for each in names if each.startswith(f"{name}.")], name)
        entries.append({title: [page_of(name), *below] if below else page_of(name)})
    return entries


def surface() -> str:
    """A table of what ``import igpo_gym`` offers by name."""
    tree = ast.parse((ROOT / "igpo_gym" / "__init__.py").read_text(encoding="utf-8"))
    table = next(node for node in tree.body if isinstance(node, ast.AnnAssign) and node.value is not None)
    offered: dict[str, tuple[str, ...]] = ast.literal_eval(table.value)
    lines = [
        f"| [`{name}`][{defined(module, name)}] | [`{module}`][{module}] |"
        for module, names in offered.items()
        for name in names
    ]
    return "\n".join(["## Names", "", "| name | module |", "|---|---|", *lines, ""])


def defined(module: str, name: str) -> str:
    """Where ``name`` of ``module`` is defined, behind imports from other modules of the package."""
    path = ROOT / Path(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("igpo_gym"):
            for each in node.names:
                if (each.asname or each.name) == name and node.module:
                    return defined(node.module, each.name)
    return f"{module}.{name}"


@cache
def executed(notebook: str) -> tuple[str, dict[str, bytes]]:
    """A notebook, run from top to bottom, as Markdown and the pictures that it drew."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    cells = nbformat.reads(notebook, as_version=4)
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}  # warnings of libraries show paths of this machine
    NotebookClient(cells, timeout=600, kernel_name="python3").execute(env=quiet)
    page, resources = MarkdownExporter().from_notebook_node(cells)
    return page, dict(resources.get("outputs") or {})


def collected() -> str:
    """What the pages say under the heading "Not verified", each part with a link to where it stands."""
    parts = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        for part in re.findall(r"^#+ Not verified\n\n(.*?)(?=^#|\Z)", text, re.M | re.S):
            link = path.relative_to(ROOT / "docs").as_posix()
            parts.append(f"## {title}\n\n{part.strip()}\n\n[Where this stands]({link}#not-verified)\n")
        parts.extend(table_of_unverified(text, title, path.relative_to(ROOT / "docs").as_posix()))
    return "\n".join(parts)


def table_of_unverified(text: str, title: str, link: str) -> Iterator[str]:
    """The first and the last column of a table whose last column is called "not verified"."""
    for table in re.findall(r"^\|[^\n]*\| not verified \|\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", text, re.M):
        rows = [re.split(r"(?<!\\)\|", row.strip("|")) for row in table.splitlines()]
        cells = [(re.sub(r"\]\(#", f"]({link}#", row[0].strip()), row[-1].strip()) for row in rows]
        lines = [f"| {name} | {missing} |" for name, missing in cells if missing]
        yield "\n".join([f"## {title}\n", "| | not verified |", "|---|---|", *lines, ""])


def inside(text: str, target: str, page: Page) -> str:
    """A link as the site can follow it: to a module's reference, to a page from outside, or text alone."""
    path, mark, anchor = target.partition("#")
    if "://" in target or not path or page.file.src_uri.startswith("reference/"):
        return f"[{text}]({target})"
    origin = next((source for source, made in OUTSIDE.items() if made == page.file.src_uri), None)
    here = posixpath.dirname(origin or f"docs/{page.file.src_uri}")
    led = posixpath.normpath(posixpath.join(here, path))
    if led in OUTSIDE:
        made = OUTSIDE[led]
    elif led == "README.md":
        made = "index.md"
    elif led.startswith("docs/"):
        made = led.removeprefix("docs/")
        made = f"{made.removesuffix('.ipynb')}.md" if made.endswith(".ipynb") else made
    elif led.startswith("igpo_gym/") and (ROOT / led).exists():
        made = page_of(led.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    else:
        return text
    start = posixpath.dirname(page.file.src_uri) or "."
    return f"[{text}]({posixpath.relpath(made, start)}{mark}{anchor})"

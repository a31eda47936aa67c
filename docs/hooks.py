"""What the site has from outside `docs/`: the pages and files that its pages link to.

In the repository, links lead from file to file. On the site, `docs/` is the root, every other file
keeps its path, and a program is a page with its source.
"""

import functools
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LINK = re.compile(r'(\]\(|\b(?:src|srcset|href)=")([^)\s"#]+)')
LABORATORY = "lab.html"


def on_files(files, config):
    """Add the laboratory, and all that pages lead to, beginning with those at the root."""
    files.append(File.generated(config, LABORATORY, content=_make_laboratory()))
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    pages += [Path(page.abs_src_path) for page in files.documentation_pages()]
    for page in pages:  # which grows
        _add(files, config, page)
        for _, link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            if target.suffix == ".md" and target.is_file() and target not in pages:
                pages.append(target)
            elif target.is_file():
                _add(files, config, target)
                _add(files, config, target.with_name(f"{target.stem}-dark.png"))
    return files


def on_page_markdown(markdown, page, **_):
    """Turn links between files into links between places; leave out the marks of results."""
    here = page.file.src_uri
    folder = (ROOT / "docs" / here if (ROOT / "docs" / here).exists() else ROOT / here).parent

    def lead(match):
        before, link = match.groups()
        target = (folder / link).resolve()
        if target.is_file():
            link = posixpath.relpath(_place(target), posixpath.dirname(here) or ".")
        return before + link

    markdown = LINK.sub(lead, re.sub(r"<!-- .*? -->", "", markdown))
    if here == "laboratory.md":
        markdown = markdown.replace("\n\n", f"\n\n[Open the laboratory]({LABORATORY})\n\n", 1)
    return markdown


def on_page_content(html, page, files, **_):
    """Show a figure's dark variant, where there is one, to those who prefer it."""

    def choose(match):
        dark = f"{match[1]}-dark.png"
        place = posixpath.join(posixpath.dirname(page.file.src_uri), dark)
        if posixpath.normpath(place) not in files.src_uris:
            return match[0]
        source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        return f"<p><picture>{source}{match[0][3:-4]}</picture></p>"

    return re.sub(r'<p><img [^>]*src="([^"]+)\.png"[^>]*></p>', choose, html)


def _place(path):
    """Where a file of the repository is on the site."""
    place = path.relative_to(ROOT).as_posix().removeprefix("docs/")
    return f"{place}.md" if path.suffix == ".py" else place


def _add(files, config, path):
    if not path.is_file() or _place(path) in files.src_uris:
        return
    if path.suffix == ".py":
        text = path.read_text(encoding="utf-8")
        page = f"---\nsearch: {{exclude: true}}\n---\n\n# {path.name}\n\n```python\n{text}```\n"
        files.append(File.generated(config, _place(path), content=page))
    else:
        files.append(File.generated(config, _place(path), abs_src_path=str(path)))


@functools.cache  # for `mkdocs serve`, which builds again and again
def _make_laboratory():
    from gan1010_jax.laboratory import make_laboratory

    return make_laboratory()

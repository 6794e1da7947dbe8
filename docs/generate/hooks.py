"""What MkDocs calls while it builds the site: for generated pages, and figures in the colours of the page."""

import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "figures")]

import commands  # noqa: E402 (beside this file, which is no package)
import config_reference  # noqa: E402
import included  # noqa: E402
import inline_figures  # noqa: E402
import notebooks  # noqa: E402
import run_folder  # noqa: E402
from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

ROOT = HERE.parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and assets that are made from other files of the repository."""
    for path, text in _pages().items():
        files.append(File.generated(config, path, content=text))
    for file in included.PAGES:
        text, pictures = included.page(ROOT, file)
        files.append(File.generated(config, included.PAGES[file], content=text))
        for place, picture in pictures.items():
            files.append(File.generated(config, place, abs_src_path=str(picture)))
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        text = notebooks.page(notebook, f"examples/{notebook.name}")
        files.append(File.generated(config, f"examples/{notebook.stem}.md", content=text))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put figures into the page itself."""
    return inline_figures.inlined(html, Path(config.docs_dir))


@cache
def _pages() -> dict[str, str]:
    """Pages made from code, and the colours of figures; commands are asked once, also by `mkdocs serve`."""
    return {
        "reference/configuration.md": config_reference.page(ROOT / "conf"),
        "reference/commands.md": commands.page(ROOT),
        "reference/run-folder.md": run_folder.page(),
        "assets/palette.css": inline_figures.stylesheet(),
    }

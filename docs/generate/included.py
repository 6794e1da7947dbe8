"""Pages that are files of the repository elsewhere: guides, experiments, cards of the artifacts."""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

PAGES: Mapping[str, str] = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "experiments/search_quality/README.md": "experiments/search_quality.md",
    "experiments/search_quality/ideas.md": "experiments/search_quality_ideas.md",
    "experiments/optimizers/README.md": "experiments/optimizers.md",
    "experiments/ablations/README.md": "experiments/ablations.md",
    "experiments/default_or_search/README.md": "experiments/default_or_search.md",
    "experiments/model_choice/README.md": "experiments/model_choice.md",
    "experiments/table1/README.md": "experiments/table1.md",
    "experiments/parallel/README.md": "experiments/parallel.md",
    "experiments/finetune_vs_probe/README.md": "experiments/finetune_vs_probe.md",
    "experiments/images/README.md": "experiments/images.md",
    "experiments/finetune_speed/README.md": "experiments/finetune_speed.md",
    "experiments/tiny_hub/README.md": "experiments/tiny_hub.md",
    "meta_dataset/README.md": "experiments/meta_dataset.md",
    "src/qtt/pretrained/mtlbm/micro/README.md": "reference/artifacts/micro.md",
    "src/qtt/pretrained/mtlbm/mini/README.md": "reference/artifacts/mini.md",
    "src/qtt/pretrained/mtlbm/extended/README.md": "reference/artifacts/extended.md",
}
"""Files of the repository, and the pages that they become."""

PICTURES = (".png", ".svg")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")


def page(root: Path, file: str) -> tuple[str, dict[str, Path]]:
    """The text of a file as the page it becomes, and the pictures it shows by their place in the site.

    Links to other included files become links to their pages; links to pictures take them along; what else
    they point to is in the repository alone, and only its name stays.

    Raises:
        FileNotFoundError: the file links to something that there is not.
    """
    here, target = PurePosixPath(file), PurePosixPath(PAGES[file])
    pictures: dict[str, Path] = {}

    def rewritten(found: re.Match[str]) -> str:
        mark, text, link, anchor = found.groups()
        path = (root / here.parent / link).resolve()
        if not path.exists():
            raise FileNotFoundError(f"{file} links to {link}, which there is not.")
        inside = path.relative_to(root.resolve()).as_posix()
        named = inside if path.is_file() else f"{inside}/README.md"
        if named in PAGES:
            return f"[{text}]({_relative(PurePosixPath(PAGES[named]), target)}{anchor or ''})"
        if path.suffix in PICTURES:
            place = target.parent / "pictures" / f"{target.stem}-{path.name}"
            pictures[str(place)] = path
            return f"{mark}[{text}]({_relative(place, target)})"
        return text if text.startswith("`") else f"{text} (`{inside}`)"

    text = (root / file).read_text(encoding="utf-8")
    return LINK.sub(rewritten, text), pictures


def _relative(target: PurePosixPath, page: PurePosixPath) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()

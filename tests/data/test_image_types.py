import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from qtt.data.image_types import FIRST_EXTENSIONS, image_extensions, limit_pixels, open_image


def test_the_first_extensions_are_torchvisions() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(FIRST_EXTENSIONS) == set(IMG_EXTENSIONS)
    assert image_extensions()[: len(FIRST_EXTENSIONS)] == FIRST_EXTENSIONS


@pytest.mark.parametrize("extension", [".gif", ".jfif", ".jpe", ".webp", ".avif", ".tif", ".jp2"])
def test_what_this_pillow_can_open_counts(extension: str, tmp_path: Path) -> None:
    if extension not in Image.registered_extensions():
        pytest.skip(f"this Pillow knows no {extension}")
    assert extension in image_extensions()
    Image.new("RGB", (9, 7), (200, 10, 10)).save(tmp_path / f"a{extension}")
    with open_image(tmp_path / f"a{extension}") as image:
        assert image.convert("RGB").size == (9, 7)


def test_every_format_that_is_named_can_be_opened_under_another_name(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", kind)
        with open_image(tmp_path / "a.jpg") as image:
            assert image.format == kind


def test_postscript_never_reaches_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "check_call", lambda *a, **k: pytest.fail("Ghostscript was started"))
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "EPS")
    path = tmp_path / "harmless.png"
    path.write_bytes(stream.getvalue())
    with Image.open(path) as image:
        assert image.format == "EPS"  # which Pillow alone would run
    with pytest.raises(UnidentifiedImageError):
        open_image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow's own, before we refuse
def test_the_limit_of_pixels_is_a_setting_and_can_be_taken_back(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    Image.new("L", (100, 60)).save(tmp_path / "a.png")
    limit_pixels(5_999)
    with pytest.raises(Image.DecompressionBombError):
        open_image(tmp_path / "a.png")
    limit_pixels(6_000)
    open_image(tmp_path / "a.png").close()
    limit_pixels(None)
    assert before == Image.MAX_IMAGE_PIXELS


HEIF = """
from PIL import Image, PngImagePlugin

def register_heif_opener():
    Image.register_open("HEIF", PngImagePlugin.PngImageFile, lambda prefix: prefix[:4] == b"\\x89PNG")
    Image.register_extension("HEIF", ".heic")
"""


def test_heic_counts_where_its_plugin_is_installed(tmp_path: Path) -> None:
    code = "from qtt.data.image_types import image_extensions; print('.heic' in image_extensions())"
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "pillow_heif.py").write_text(HEIF)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'with')!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"

"""Copy the README's pictures from the chapters' outputs: python tools/pictures.py"""

from pathlib import Path

import nbformat

from d2lmini.engine.files import write_whole

ROOT = Path(__file__).parents[1]
# file in images/: the chapter, and how the picture's title begins there
PICTURES = {
    "shapes.svg": ("02_shape_inspection.ipynb", "VGG-11: smaller images"),
    "training.svg": ("05_training.ipynb", "Test accuracy"),
}


def picture(chapter: str, title: str) -> str:
    """The first picture in the chapter's outputs whose title begins so, as SVG."""
    for cell in nbformat.read(ROOT / "notebooks" / chapter, as_version=4).cells:
        for output in cell.get("outputs", []):
            svg = output.get("data", {}).get("image/svg+xml", "")
            if f"<title>{title}" in svg:
                return svg
    raise LookupError(f"{chapter} has no picture with the title {title!r}")


if __name__ == "__main__":
    for name, source in PICTURES.items():
        write_whole(ROOT / "images" / name, picture(*source).encode())

"""Rebuild the embedded sample from the official four files: the same bytes each time.

    python d2lmini/sample/make_sample.py

Takes the first 600 training and the first 100 test images of each class, in the
official order: 7,000 rows of 784 pixels and the label.
"""

import io
import lzma

import numpy as np

from d2lmini.engine.fashion_mnist import FILES, SAMPLE, find_fashion_mnist, read_idx
from d2lmini.engine.files import write_whole


def sample_bytes() -> bytes:
    """The sample file's content. Raises FileNotFoundError without the full set."""
    folder = find_fashion_mnist()
    if folder is None:
        raise FileNotFoundError("the full set is needed: python -m d2lmini data")
    official = [read_idx(folder, name).numpy() for name in FILES]
    rows = []
    for images, labels, per_class in ((*official[:2], 600), (*official[2:], 100)):
        first = [np.flatnonzero(labels == c)[:per_class] for c in range(10)]
        chosen = np.sort(np.concatenate(first))
        pixels = images[chosen].reshape(len(chosen), -1)
        rows.append(np.column_stack([pixels, labels[chosen]]))
    file = io.BytesIO()
    np.save(file, np.concatenate(rows))
    return lzma.compress(file.getvalue(), preset=9 | lzma.PRESET_EXTREME)


if __name__ == "__main__":
    write_whole(SAMPLE, sample_bytes())

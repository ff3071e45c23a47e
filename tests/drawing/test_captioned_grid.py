"""A grid of images under a title, with captions."""

import numpy as np
from PIL import Image

from genjax.drawing import pictures


def test_every_image_is_in_its_row_and_column(tmp_path):
    # one grey each, from black at the top left to white at the bottom right
    greys = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    images = np.broadcast_to(greys[:, :, None, None, None], (2, 3, 5, 4, 1))
    bare = {"title": ""}
    captioned = {"title": "greys", "rows": ["first", "second"], "columns": ["a", "b", "c"]}
    seen = []
    for name, captions in (("bare", bare), ("captioned", captioned)):
        pictures.save_captioned_grid(tmp_path / f"{name}.png", images, **captions)
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        for grey in greys.ravel()[1:-1]:
            y, x = np.nonzero(np.abs(pixels / 255 - grey) < 0.01)
            seen.append((np.median(y), np.median(x)))
        assert pixels.min() == 0
    centres = np.array(seen).reshape(2, 4, 2)
    for b, c, d, e in centres:  # b and c end the first row, d and e begin the second
        assert b[0] == c[0] < d[0] == e[0]
        assert d[1] < b[1] < c[1] and abs(e[1] - b[1]) <= 1
    assert not np.array_equal(centres[0], centres[1])  # room for the captions

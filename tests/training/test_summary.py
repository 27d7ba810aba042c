"""Text output of the quantizer's training."""

import io

import numpy as np
from rich.console import Console

from sid_jax.data.vector_set import VectorSet
from sid_jax.messages import Messages
from sid_jax.training.summary import show_samples


def test_samples_have_a_title_on_one_line_and_items_under_the_heading_of_prefixes():
    codes = np.array([[3, 0], [3, 1], [5, 0]], np.int32)
    data = VectorSet(np.arange(3), np.eye(3, dtype=np.float32))
    file = io.StringIO()
    show_samples(Messages.to_console(Console(file=file, width=80)), data, codes)
    lines = file.getvalue().splitlines()
    assert lines[0].strip() == "Example items and their codes"
    heading = lines.index("Items under the most common prefixes of 1 code:")
    assert lines[heading + 1 :] == ["3-*  0; 1", "5-*  2"]

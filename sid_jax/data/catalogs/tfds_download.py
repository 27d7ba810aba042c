"""Downloads one address through TensorFlow Datasets: `python tfds_download.py ADDRESS FOLDER` prints the file's path.

A program of its own, because TensorFlow Datasets' download has no time limit: only the end of its process stops a
stalled one.
"""

from __future__ import annotations

import sys

import tensorflow_datasets as tfds


def main(address: str, folder: str) -> None:
    """Downloads the address into the folder, or leaves with one line on standard error."""
    tfds.disable_progress_bar()
    try:
        path = tfds.download.DownloadManager(download_dir=folder).download(address)
    except Exception as error:  # Whatever it is, the caller goes on without this source and says why.
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])

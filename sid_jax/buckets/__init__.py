"""Reads and writes data in buckets: `gs://`, `s3://`, `az://`, `hf://` and `memory://`, through fsspec.

The library works on local files: NumPy and Arrow memory-map them, Orbax writes them, and locks and renames need a file
system. An address is therefore replaced by a local path where it is parsed, and the rest of the library handles only
paths:

- Inputs (`fetch`). `sid_jax.paths.as_path` copies the files at an address into the cache folder and returns the copy.
  The name of the copy contains a digest that changes with the content, and the copy is reused while the digest is the
  same. For an export or a run, only the files in its manifest are copied. Parquet files of vectors are not copied but
  read from the bucket in blocks (`place.RemoteFile`), since they may be the largest files.
- Outputs (`outputs`). A command writes a folder in the cache with the usual atomic writers. Before this folder is
  renamed (`sid_jax.export.atomic.publish`), its files are uploaded, with `manifest.json` as the last one. Readers read
  only the files that the manifest lists, so they see the whole export or nothing. A single file is uploaded atomically.
- Workdirs (`mirror`). Training writes a local workdir. After each checkpoint, new and changed files are uploaded first,
  and then `workdir.json`, which lists all files. A restarted run begins with the files in `workdir.json`.

Buckets have no locks. A writer of an export is rejected if the manifest already exists. If several writers upload to
the same address at the same time, each of them stops when it detects that another writer has started later. Stores with
conditional writes also create the manifest only if it is absent. A training run claims its workdir at its start by
writing `workdir.json`. An earlier training run in the same workdir detects this at its next checkpoint, and stops.
"""

"""Reads and writes data in buckets: `gs://`, `s3://`, `az://`, `hf://` and `memory://`, through fsspec.

The library works on local files: NumPy and Arrow map them, Orbax writes them, and locks and renames need a file system.
So an address is converted to a local path where it is parsed, and all other code only sees local paths:

- Inputs (`fetch`). `sid_jax.paths.as_path` copies the files of an address into the cache folder, under a name with the
  version of their content (ETag, generation or SHA-256), and returns the copy. The copy is reused while the version is
  the same. Of an export or a run, only the files that its manifest lists are copied. Parquet files of vectors are not
  copied: they are read from the bucket, one page after another (`place.RemoteFile`), since they may be the largest
  files.
- Outputs (`outputs`). A command writes a folder in the cache with the usual atomic writers. When that folder gets its
  final name (`sid_jax.export.atomic.publish`), its files are uploaded first, and `manifest.json` last. A reader first
  needs the manifest, so it sees the whole export or none. A single file is one upload, which is atomic.
- Workdirs (`mirror`). Training writes a local workdir. After each checkpoint, new and changed files are uploaded first,
  and then `workdir.json`, which lists them. A run that is started again begins with the files that `workdir.json`
  lists.

A bucket has no locks. A second writer of an export is rejected if the manifest exists (it is created only if absent,
where the store supports that), or if another writer has begun in the meantime. A training run claims its workdir at its
start, by writing `workdir.json`. An earlier run in the same workdir detects this at its next checkpoint, and stops.
"""

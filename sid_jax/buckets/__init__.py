"""Reads and writes data in buckets: `gs://`, `s3://`, `az://`, `hf://` and `memory://`, through fsspec.

The library works on local files: NumPy and Arrow map them, Orbax writes them, and locks and renames need a file system.
So an address is turned into a local path where it is parsed, and nothing else in the library knows of buckets:

- Inputs (`fetch`). `sid_jax.paths.as_path` copies what an address names into the cache folder, under a name with the
  version of its content (ETag, generation or SHA-256), and returns the copy. It is used again while the version is the
  same. Of an export or a run, only the files that its manifest lists are copied. Parquet files of vectors are not
  copied: they are read from the bucket, one page after another (`place.RemoteFile`), since they may be the largest
  files.
- Outputs (`outputs`). A command writes a folder in the cache with the usual atomic writers. When that folder gets its
  name (`sid_jax.export.atomic.publish`), its files are uploaded first, and `manifest.json` last. Readers look at the
  manifest alone, so that they see the whole export or none. A single file is one upload, which is atomic.
- Workdirs (`mirror`). Training writes a local workdir. After each checkpoint, new and changed files are uploaded first,
  and then `workdir.json`, which lists them. A run that is started again begins with what `workdir.json` lists.

A bucket has no locks. A second writer of an export is rejected if the manifest exists (created only if absent, where
the store can do that), or if another writer has begun meanwhile. A training claims its workdir at its start, by writing
`workdir.json`. An earlier training in the same workdir finds this at its next checkpoint, and stops.
"""

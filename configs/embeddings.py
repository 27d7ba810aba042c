"""Semantic IDs of your own vectors, from files of many formats.

python train.py --config=configs/embeddings.py --config.data.path=items.parquet --workdir=runs/items

The columns are item_id and vector; --config.data.id_column and --config.data.vector_column set other names. For a .npy
file, which has no ids, --config.data.ids_path names a text file with one id per line. Without this setting, ids are row
numbers.

Results for 12,101 sentence vectors of 384 features (Amazon Beauty): all codes in use, distinct rate .908 (upper bound
.998), R^2 .713 for the code tuples and .709 for the unique IDs. Training takes 16 s on 2 CPU cores (AMD EPYC with
AVX-512), or 11 s if an earlier run has compiled its programs.
"""

from sid_jax.presets import embeddings

get_config = embeddings

"""Quantizer and recommender trained together: IDs learn from who takes what after what, and are then frozen.

python -m sid_jax.recommend --config=configs/joint.py:ml100k --workdir=runs/joint-ml100k
python -m sid_jax.recommend --config=configs/joint.py:beauty --config.ids=exports/beauty \
    --config.data.path=sequences.txt --workdir=runs/joint-beauty

ml100k, beauty: data and recommender are those of configs/recommend.py. The IDs to start from are trained on the way, or
are an export's, whose vectors are then read from where they lay when it was made.
"""

from sid_jax.presets import joint

get_config = joint

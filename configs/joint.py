"""Quantizer and recommender trained together: IDs learn from who takes what after what, and are then frozen.

sid-jax recommend --config=joint:ml100k --workdir=runs/joint-ml100k
sid-jax recommend --config=joint:beauty --config.ids=exports/beauty \
    --config.data.path=sequences.txt --workdir=runs/joint-beauty

ml100k, beauty: data and recommender are those of configs/recommend.py. The IDs to start from are trained on the way, or
are an export's, whose vectors are then read from where they lay when it was made.
"""

from sid_jax.presets import joint

get_config = joint

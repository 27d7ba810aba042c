"""Joint training of quantizer and recommender: IDs change in the first part of the run, and are then frozen.

sid-jax recommend --config=joint:ml100k --workdir=runs/joint-ml100k
sid-jax recommend --config=joint:beauty --config.ids=exports/beauty \
    --config.data.path=sequences.txt --workdir=runs/joint-beauty

Arguments: ml100k or beauty, with the data of configs/recommend.py. The recommender is the generative decoder. The
initial IDs are trained in the same run, or read from an export (--config.ids). The item vectors of an export are read
from the paths in the export's settings.
"""

from sid_jax.presets import joint

get_config = joint

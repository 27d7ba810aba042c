"""A recommender on Semantic IDs, evaluated by leave-one-out.

sid-jax recommend --config=recommend:ml100k --workdir=runs/recommend-ml100k
sid-jax recommend --config=recommend:beauty --config.ids=exports/beauty \
    --config.data.path=sequences.txt --workdir=runs/recommend-beauty

ml100k: MovieLens-100K. The IDs are trained in the same run, on the movies' titles, genres and co-occurrences.
beauty: Amazon Beauty (2014, 5-core) or any file of histories with one line per user. With
    --config.data.source=amazon-2014-beauty instead of a path, the data is downloaded from its authors, and the IDs are
    trained in the same run.
The recommender is the scorer. With the argument decoder, as in recommend:ml100k,decoder, it is the generative decoder.
"""

from sid_jax.presets import recommend

get_config = recommend

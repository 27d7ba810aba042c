"""Generative recommendation on Semantic IDs: data, models, training, evaluation, cold items, joint training."""

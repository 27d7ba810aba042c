"""Recommendation with Semantic IDs: data, models, training, evaluation, cold items and joint training."""

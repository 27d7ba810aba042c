"""Joint training of quantizer and recommender."""

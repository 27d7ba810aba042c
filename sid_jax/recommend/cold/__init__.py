"""Recommendation of cold items: their scores, and lists with slots for them."""

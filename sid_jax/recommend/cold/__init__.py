"""Recommending cold items: their scores, and lists with places for them."""

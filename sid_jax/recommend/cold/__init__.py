"""Recommendation of cold items: scores of cold items, and lists with slots for cold items."""

"""Searches for settings that give both distinct codes and a high R^2."""

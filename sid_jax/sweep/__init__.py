"""Searches a config's settings for distinct codes and a faithful reconstruction together."""

"""The next version of an export: new items get free IDs, and no published ID changes unless requested."""

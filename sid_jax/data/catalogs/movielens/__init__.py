"""MovieLens, in every size that GroupLens publishes."""

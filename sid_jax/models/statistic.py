"""The kind of variable that is part of a model but is not learned by gradient."""

from flax import nnx


class Statistic(nnx.Variable):
    """A fitted number that checkpoints carry and optimizers leave alone: scaling, "codebooks are initialized"."""

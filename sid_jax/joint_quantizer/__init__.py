"""`JointQuantizer`, a quantizer that is trained jointly with a model. `sid_jax.recommend.joint` also uses its code."""

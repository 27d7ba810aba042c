"""A quantizer that is trained jointly with a model: `JointQuantizer`, and code that `recommend.joint` also uses."""

"""A quantizer that is trained jointly with a model: `JointQuantizer`, and the parts that `recommend.joint` shares."""

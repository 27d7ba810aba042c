"""`JointQuantizer`, a quantizer that is trained jointly with a model, and the code that `recommend.joint` shares."""

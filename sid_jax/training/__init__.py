"""Training: the run loop; and the quantizer's state, step, schedules, sharding and checkpoints."""

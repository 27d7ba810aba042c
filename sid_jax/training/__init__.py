"""Training: the run loop of all models, and the quantizer's state, steps, schedules, sharding and checkpoints."""

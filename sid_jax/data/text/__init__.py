"""Text encoders, which map the texts that describe items to vectors."""

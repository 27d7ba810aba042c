"""Text encoders: from the texts that describe items to vectors."""

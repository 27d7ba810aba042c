"""What is measured of codes, Semantic IDs and reconstructions, each figure once."""

"""Amazon reviews and products, in every edition that their authors publish."""

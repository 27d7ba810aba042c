"""Amazon reviews and product metadata, in every edition that their authors publish."""

"""Amazon reviews and product metadata, in the editions of 2014, 2018 and 2023."""

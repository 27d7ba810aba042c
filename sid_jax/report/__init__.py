"""Makes the report of an export: one HTML page that needs no network."""

"""Makes the next version of an export: new items get free IDs, and published IDs change only on request."""

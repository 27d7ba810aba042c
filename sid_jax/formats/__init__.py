"""Writers of other tools' files for Semantic IDs, histories and items: one module per tool, and a registry of them."""

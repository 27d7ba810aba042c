"""Tests of situations in practice, one module per kind of situation; a test's name describes its situation."""

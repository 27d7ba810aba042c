"""Tests of situations that occur in practice: one module per kind of situation. A test's name says what happens."""

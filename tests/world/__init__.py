"""Situations from the lives of those who use the package, a module for each kind; a test is named after its own."""

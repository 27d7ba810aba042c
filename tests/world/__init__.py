"""Situations of users, one module for each kind; each test is named after its situation."""

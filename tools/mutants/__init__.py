"""Mutants: the code with one protection taken out, and the tests that must go red without it."""

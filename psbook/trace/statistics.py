"""Quantities of a trace as tidy tables."""

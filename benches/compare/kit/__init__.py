"""Runs the comparison: set-up, servers, contestants, measurement and tables."""

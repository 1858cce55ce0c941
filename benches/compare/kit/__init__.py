"""The runner of the comparison: set-up, servers, contestants, measurement and tables."""

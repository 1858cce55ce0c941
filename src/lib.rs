//! Export Overmind Lab datasets, every row once.

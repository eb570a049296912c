"""A model made fast for this machine: layers fused, algorithms and number formats found by timing them."""

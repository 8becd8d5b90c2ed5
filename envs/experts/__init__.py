"""Scripted experts, one file an environment: they make imitation data and play the first demo."""

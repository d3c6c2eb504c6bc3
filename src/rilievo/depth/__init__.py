"""Monocular depth: who estimates it."""

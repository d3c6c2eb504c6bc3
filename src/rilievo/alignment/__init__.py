"""Cameras and points from what pairs of photos say of each other."""

"""Structure from motion: photographs without poses become posed ones, on pycolmap's features and our own adjustment."""

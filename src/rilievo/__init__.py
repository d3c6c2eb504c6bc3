"""rilievo: photographs and casual video into cameras, surfaces, materials and motion.

Importing the package imports nothing heavy; each part wakes up what it needs.
"""

__version__ = "0.1.0"

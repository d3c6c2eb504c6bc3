"""A capture made of formulas alone, so that everything can be tried without a camera or a network."""

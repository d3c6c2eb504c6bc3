"""Light and surfaces: reflection, colour curves."""

"""How good a result is: of pictures, of surfaces, of cameras."""

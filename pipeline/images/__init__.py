"""Images as bytes and pixels: formats, colours, sizes, grids."""

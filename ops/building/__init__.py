"""How the compiled operations come to be: tools, recipes, a cache that many processes share."""

"""Ten minutes that show what a GPU does with hrgan: steps, each a value; a runner that knows none of them."""

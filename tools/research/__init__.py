"""Comparisons with papers and with other projects, and models of scale."""

"""Objectives, each an equation of a paper."""

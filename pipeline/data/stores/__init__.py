"""Stores of objects and web servers: how data sets in them are named, asked for, and kept on this machine."""

"""The operations that dominate these networks; depends on torch alone."""

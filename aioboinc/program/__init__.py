"""A slave file with the local modules that it imports, bundled."""

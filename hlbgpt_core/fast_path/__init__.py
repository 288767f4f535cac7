"""The same mathematics rearranged for a GPU. Importing this package loads nothing; its files import what they need."""

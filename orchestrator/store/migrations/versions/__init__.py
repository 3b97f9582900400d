"""One module a version, named by what it does. A version that was released never changes."""

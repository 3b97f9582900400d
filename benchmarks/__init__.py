"""The figures that documents quote, measured again by ``make bench``."""

"""The only package with SQL. State-changing statements name their guard and return ``Committed | LostRace``."""

"""``orch demo``: a sample project goes to production while one watches, and everything is counted afterwards."""

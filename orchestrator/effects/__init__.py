"""Effects: one module each. The ledger runs them; nothing else may call an ``act``."""

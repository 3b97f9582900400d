"""How people are told: one module a channel, each an implementation of ``ports.Notifier``."""

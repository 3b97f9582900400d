"""One module a check, each with ``problems(environment) -> list[str]``."""

"""What the developers of this project run; nothing here is installed."""

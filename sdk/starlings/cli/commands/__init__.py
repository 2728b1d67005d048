"""One small module per command; each imports what it needs only when it is called."""

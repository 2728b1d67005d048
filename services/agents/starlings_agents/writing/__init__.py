"""What the agents `writer`, `critic` and `editor` share: settings, and which text is meant."""

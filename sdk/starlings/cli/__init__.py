"""The command line: every command is a small module, loaded when it is called."""

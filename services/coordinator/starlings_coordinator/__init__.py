"""The coordinator: announces the steps whose dependencies are met, and nothing else.

Consumes `events`; publishes work on `steps.<agent>`, stops on `control`, and its own facts on
`events`. It calls no model and no agent, and holds no state that the log does not hold.
"""

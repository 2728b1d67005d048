"""Language models: one client for any server that speaks the OpenAI chat protocol.

Whatever a server promised, an answer counts only once it was parsed and validated here.
"""

"""How agents open addresses that a plan, a model or a web page gave them.

`addresses` says which addresses may be reached, `guard` connects to nothing else, `fetching` gets
an answer within limits, `charsets` reads text out of it, `secret_values` fills secrets in and takes
them out of what comes back.
"""

"""What the engine needs from the world, as Protocols with their promises in prose.

Adapters keep them; contract suites check that they do.
"""

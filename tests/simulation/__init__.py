"""The whole pipeline in one process on a virtual clock, against a world that misbehaves by seed (docs/how-to/simulate.md)."""

"""An app with a REST API, in memory: for tests of what reads or loads one."""

"""Speed and memory, as ratios of two things measured in one run. `make bench` runs all, `python -m benchmarks NAME` one."""

"""Exact windows, the four detectors and the judge: pure functions of state and ordered inputs."""

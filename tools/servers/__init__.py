"""Real servers for tests and trials: plain processes on loopback, in a temporary directory, on free ports, gone with whoever started them.

One server is one file here with an `install` function and a context manager (`kafka.py` shows the shape); `__main__.py` lists them.
"""

"""Shipped fakes and the traffic simulator."""

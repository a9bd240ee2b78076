"""Engines that carry users' packets, behind one interface."""

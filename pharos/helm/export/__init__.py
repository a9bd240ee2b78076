"""The record as a text that people keep and compare."""

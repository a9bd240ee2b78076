"""The record: two SQLite files, one writer thread each, plain functions over a connection."""

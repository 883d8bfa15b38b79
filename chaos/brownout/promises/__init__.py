"""Kinds of promise: one file each."""

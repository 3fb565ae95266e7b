"""Prompt sets, the benchmark, its figures and its pages."""

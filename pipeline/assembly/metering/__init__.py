"""Measuring a process for its operators."""

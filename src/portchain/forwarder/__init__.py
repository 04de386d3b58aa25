"""Listeners, relay and control interface."""

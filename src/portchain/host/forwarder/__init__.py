"""The table of forwards, their listeners, and the control interface."""

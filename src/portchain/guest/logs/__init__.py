"""Write and read the logs of the services."""

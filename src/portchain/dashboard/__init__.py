"""The dashboard: the report of a running machine as a page that follows it, with its containers' and services' life."""

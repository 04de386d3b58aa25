"""What would go wrong, found before anything is changed: pure checks on facts, and the facts' collection."""

"""The master's side: from calls to handlers."""

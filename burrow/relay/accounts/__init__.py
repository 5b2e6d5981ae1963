"""Where a relay's accounts are kept: a file now, a database later."""

"""A study's `search:` section and the domains it draws from. May use: base, regimes."""

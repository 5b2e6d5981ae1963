"""The tunnel protocols that come with burrow; each is a plugin like anybody else's."""

"""Where a model lies: fetched from the Hub, in its cache, or in a folder here."""

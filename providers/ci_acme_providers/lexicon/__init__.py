"""dns-lexicon: a bridge to some eighty DNS providers."""

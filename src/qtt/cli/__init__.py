"""The command line: which commands there are, how they were called, their configuration, what they say."""

"""Upload hooks: who may post events of uploads, which of them are scanned, and the answer to each."""

"""Upload hooks: who may post events of uploads, which uploads are scanned, and the answer to each event."""

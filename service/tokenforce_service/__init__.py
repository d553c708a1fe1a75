"""Everything that needs no GPU: the gateway, the aggregator, the deliverer and the local stack."""

import os

# No telemetry about models; huggingface_hub reads this when it is first imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

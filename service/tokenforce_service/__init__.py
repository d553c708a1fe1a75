"""The gateway, the planner and the aggregator: everything that needs no GPU."""

import os

# No telemetry from anybody's models; huggingface_hub reads this when it is first imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

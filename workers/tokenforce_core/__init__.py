"""The algorithm, the store and the job contract: what the gateway and the workers share.

The algorithm files (`scoring`, `vocabulary`, `sweep`, `confirmation`, `repetition`, `ranking`) do no I/O: they see
token ids and probabilities only. Redis keys are known to `store` and the files named after what they keep.
"""

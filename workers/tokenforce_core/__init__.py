"""The algorithm, the store and the job contract: what the gateway and the workers share.

The algorithm files (`scoring`, `vocabulary`, `sweep`, `confirmation`, `repetition`, `ranking`) do no
I/O: they see token ids and probabilities only. `store` is the only file that knows Redis keys.
"""

"""What the gateway and the workers share: the algorithm, the store and the queues.

`plan`, `forcing`, `contrast` and `findings` are the algorithm and do no I/O: they see token ids and probabilities only.
`scans`, `fingerprints` and `queues` keep things in Redis; each file names its keys. `runtime` is about processes.
"""

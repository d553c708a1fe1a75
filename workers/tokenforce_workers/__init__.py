"""The GPU worker: a warm vLLM engine that drains shard queues. The only package that imports vllm."""

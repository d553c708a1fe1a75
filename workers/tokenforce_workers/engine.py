"""A warm vLLM engine behind the `Decoder` protocol: the only file that imports vllm.

The engine is driven through `add_request`, `step` and `abort_request` alone, which the V1 runner
(CPU) and the V2 runner (GPU) share. Between two steps the caller may cancel; whatever it raises, the
engine is left empty and ready for the next shard.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

from vllm import SamplingParams
from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.models import ModelRegistry
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.llm_engine import LLMEngine

from tokenforce_core.decoder import BetweenSteps, OnToken
from tokenforce_core.plan import ALIGNMENT
from tokenforce_workers.machine import Machine
from tokenforce_workers.settings import WorkerSettings

DRAIN_SECONDS = 30.0


class EngineUnclean(Exception):
    """The engine did not come to rest after an abort; the process must be replaced."""


def supported_architectures() -> list[str]:
    """Architecture names that this engine can load without remote code."""
    return sorted(ModelRegistry.get_supported_archs())


class Engine:
    """One loaded model. Implements `tokenforce_core.decoder.Decoder`.

    Args:
        path: a local model folder that has passed the planner's checks.
        dtype: compute type.
        max_model_len: longest sequence in tokens.

    Raises:
        ValueError: vLLM refuses the model.
    """

    def __init__(self, path: str, dtype: str, max_model_len: int, machine: Machine, settings: WorkerSettings) -> None:
        arguments: dict[str, Any] = {
            "model": path,
            "dtype": dtype,
            "max_model_len": max_model_len,
            "load_format": "safetensors",
            "trust_remote_code": False,
            "skip_tokenizer_init": True,
            "enable_prefix_caching": True,
            "logprobs_mode": "raw_logprobs",
            "disable_log_stats": True,
            "seed": 0,
        }
        if machine.on_cpu:
            arguments |= {
                "block_size": settings.block_size or ALIGNMENT,
                "max_num_seqs": settings.max_num_seqs or 256,
                "max_num_batched_tokens": max(settings.max_batched_tokens or 2048, max_model_len),
                "enforce_eager": True,
                "distributed_executor_backend": "uni",
                "kv_cache_memory_bytes": machine.kv_cache_bytes,
            }
        else:
            arguments |= {
                "block_size": settings.block_size or 16,
                "max_num_seqs": settings.max_num_seqs or 512,  # CUDA graphs are captured up to 512
                "max_num_batched_tokens": max(settings.max_batched_tokens or 8192, max_model_len),
                "gpu_memory_utilization": settings.gpu_memory_utilization,
            }
        self._in_process = machine.on_cpu
        self.path = path
        self.dtype = dtype
        self.max_model_len = max_model_len
        self._window = 2 * int(arguments["max_num_seqs"])
        self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        self._ids = count()
        loaded = self._engine.vllm_config
        if loaded.model_config.model != path or loaded.speculative_config is not None:
            # A config can make vLLM load a model of its own choice; scanning that would be a false answer.
            self.close()
            raise ValueError("the model's config makes the engine load another model")
        gc.collect()
        gc.freeze()  # the model's millions of objects need no more garbage collection

    def decode(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, on_token: OnToken, between_steps: BetweenSteps
    ) -> None:
        """See `Decoder.decode`.

        Raises:
            EngineUnclean: requests were still running `DRAIN_SECONDS` after an abort.
        """
        # Without the last token, which differs from prompt to prompt.
        for prefix in {tuple(prompt[: (len(prompt) - 1) // ALIGNMENT * ALIGNMENT]) for prompt in prompts} - {()}:
            # Requests scheduled in the same step cannot hit the prefix cache, so one goes first.
            self._run([prefix], 1, lambda *_: False, between_steps)
        self._run(prompts, max_tokens, on_token, between_steps)

    def _run(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, on_token: OnToken, between_steps: BetweenSteps
    ) -> None:
        params = SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            logprobs=0,  # the chosen token's own
            ignore_eos=True,
            detokenize=False,
            flat_logprobs=True,
            output_kind=RequestOutputKind.DELTA,
        )
        waiting = enumerate(prompts)
        live: dict[str, int] = {}
        try:
            while True:
                # A window, not everything at once: a cancel has little to abort, memory stays flat.
                while len(live) < self._window and (item := next(waiting, None)) is not None:
                    request_id = str(next(self._ids))
                    self._engine.add_request(request_id, {"prompt_token_ids": list(item[1])}, params)
                    live[request_id] = item[0]
                if not live:
                    return
                self._step(live, on_token)
                between_steps()
        except BaseException:
            self._drain(list(live))
            raise

    def _step(self, live: dict[str, int], on_token: OnToken) -> None:
        dropped: list[str] = []
        for output in self._engine.step():
            index = live.get(output.request_id)
            if index is None:
                continue  # a GPU step may have been in flight when the request was aborted
            completion = output.outputs[0]
            go_on = True
            for token_id, logprob in zip(completion.token_ids, completion.logprobs.logprobs, strict=True):
                go_on = on_token(index, token_id, min(1.0, math.exp(logprob)))
                if not go_on:
                    break
            if output.finished:
                del live[output.request_id]
            elif not go_on:
                del live[output.request_id]
                dropped.append(output.request_id)
        if dropped:
            self._engine.abort_request(dropped)

    def _drain(self, request_ids: list[str]) -> None:
        self._engine.abort_request(request_ids)
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._engine.has_unfinished_requests():
            if time.monotonic() > deadline:
                raise EngineUnclean(f"requests were still running {DRAIN_SECONDS:.0f} s after an abort")
            self._engine.step()

    def close(self) -> None:
        """Shut the engine down and give its memory back."""
        self._engine.engine_core.shutdown()
        del self._engine
        gc.unfreeze()
        if self._in_process:  # otherwise the engine's own process held them, and it is gone
            cleanup_dist_env_and_memory()

"""A vLLM engine behind the `Predictor` protocol. Only this file, sessions.py and lora_loader.py import vllm.

The engine is driven through `add_request`, `step` and `abort_request` alone, which the V1 runner (CPU) and the V2
runner (GPU) share; sessions.py needs more, and says why. Between two steps the caller may raise anything to stop: the
engine is left empty and ready for the next shard.

Decision: step by step instead of `LLM.generate`, because pruning, cancel and progress happen between steps.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from vllm import SamplingParams
from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
from vllm.engine.arg_utils import EngineArgs
from vllm.lora.request import LoRARequest
from vllm.model_executor.models import ModelRegistry
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.llm_engine import LLMEngine

from tokenforce_core.forcing.predictor import ALIGNMENT, BetweenSteps, OnNext, OnToken, refuse_nans
from tokenforce_workers.engine.lora_loader import merging
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.settings import WorkerSettings

DRAIN_SECONDS = 30.0
MAX_LOGPROBS = 64
"""Most next tokens that may be asked for at once."""


class EngineUnclean(Exception):
    """Requests are still running after an abort; the process must be replaced."""


def _params(max_tokens: int, **logprobs: Any) -> SamplingParams:
    return SamplingParams(
        temperature=0.0,
        max_tokens=max_tokens,
        ignore_eos=True,
        detokenize=False,
        flat_logprobs=True,
        output_kind=RequestOutputKind.DELTA,
        **logprobs,
    )


def whole_blocks(prompt: Sequence[int]) -> tuple[int, ...]:
    """The part of a prompt that can come from the prefix cache: without the last token, which has to be computed."""
    return tuple(prompt[: (len(prompt) - 1) // ALIGNMENT * ALIGNMENT])


def supported_architectures() -> list[str]:
    """Architecture names that this engine can load without remote code."""
    return sorted(ModelRegistry.get_supported_archs())


class Engine:
    """One loaded model. Implements `tokenforce_core.forcing.predictor.Predictor`.

    Args:
        path: a local model folder that has passed the planner's checks.
        dtype: compute type.
        max_model_len: longest sequence in tokens.
        share: engines that the machine's memory has to serve at the same time.
        lora_rank: largest rank of the adapters that `adapted` will be asked for; None: no adapters.
        adapter: a checked LoRA adapter folder to merge into the model's weights; wants the dtype float32.
        loading: vLLM's arguments for a loader of its own.

    Raises:
        ValueError: vLLM refuses the model.
    """

    def __init__(
        self,
        path: str,
        dtype: str,
        max_model_len: int,
        machine: Machine,
        settings: WorkerSettings,
        *,
        share: int = 1,
        lora_rank: int | None = None,
        adapter: str | None = None,
        loading: Mapping[str, Any] | None = None,
    ) -> None:
        arguments: dict[str, Any] = {
            "model": path,
            "dtype": dtype,
            "max_model_len": max_model_len,
            "load_format": "safetensors",
            "trust_remote_code": False,
            "skip_tokenizer_init": True,
            "enable_prefix_caching": True,
            "logprobs_mode": "raw_logprobs",
            "max_logprobs": MAX_LOGPROBS,
            "disable_log_stats": True,
            "seed": 0,
        }
        if lora_rank is not None:
            arguments |= {"enable_lora": True, "max_lora_rank": lora_rank, "max_loras": 1, "max_cpu_loras": 4}
        if adapter is not None:
            arguments |= merging(adapter)
        arguments |= loading or {}
        if machine.on_cpu:
            arguments |= {
                "block_size": settings.block_size or ALIGNMENT,
                "max_num_seqs": settings.max_num_seqs or 256,
                "max_num_batched_tokens": max(settings.max_batched_tokens or 2048, max_model_len),
                "enforce_eager": True,
                "distributed_executor_backend": "uni",
                "kv_cache_memory_bytes": machine.kv_cache_bytes // share,
            }
        else:
            arguments |= {
                "block_size": settings.block_size or 16,
                "max_num_seqs": settings.max_num_seqs or 512,  # CUDA graphs are captured up to 512
                "max_num_batched_tokens": max(settings.max_batched_tokens or 8192, max_model_len),
                "gpu_memory_utilization": settings.gpu_memory_utilization / share,
            }
        self._in_process = machine.on_cpu
        self.path = path
        self.dtype = dtype
        self.max_model_len = max_model_len
        self.share = share
        self.lora_rank = lora_rank or 0
        self.max_num_seqs = int(arguments["max_num_seqs"])
        self._adapter: LoRARequest | None = None
        self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        self._ids = count()
        self._parked: set[str] = set()
        """Requests that wait for more input; see sessions.py."""
        loaded = self._engine.vllm_config
        if loaded.model_config.model != path or loaded.speculative_config is not None:
            # A config can make vLLM load another model; scanning that one would give a false answer.
            self.close()
            raise ValueError("the model's config makes the engine load another model")
        cache = loaded.cache_config
        # In a hybrid model each group of layers has its own blocks; only the first figure counts them.
        self.kv_cache_tokens: int = cache.kv_cache_size_tokens or cache.num_gpu_blocks * cache.block_size
        gc.collect()
        gc.freeze()  # the model's millions of objects need no more garbage collection

    def decode(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, on_token: OnToken, between_steps: BetweenSteps
    ) -> None:
        """See `Decoder.decode`.

        Raises:
            EngineUnclean: requests were still running `DRAIN_SECONDS` after an abort.
        """

        def on_output(index: int, output: RequestOutput) -> bool:
            completion = output.outputs[0]
            for token_id, logprob in zip(completion.token_ids, completion.logprobs.logprobs, strict=True):
                if not on_token(index, token_id, min(logprob, 0.0)):  # NaN stays NaN
                    return False
            return True

        params = _params(max_tokens, logprobs=0)  # the chosen token's own
        self._prime(prompts, between_steps)
        self._run(((prompt, params) for prompt in prompts), on_output, between_steps)

    def next_tokens(
        self, prompts: Sequence[Sequence[int]], count: int, on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        """See `Predictor.next_tokens`."""

        def on_output(index: int, output: RequestOutput) -> bool:
            found = output.outputs[0].logprobs
            # The chosen token comes first, and once more in its place among the others.
            on_next(index, found.token_ids[1:], refuse_nans(found.logprobs[1:]))
            return False

        self._answer(prompts, [_params(1, logprobs=count)] * len(prompts), on_output, between_steps)

    def log_probabilities(
        self,
        prompts: Sequence[Sequence[int]],
        token_ids: Sequence[Sequence[int]],
        on_next: OnNext,
        between_steps: BetweenSteps,
    ) -> None:
        """See `Predictor.log_probabilities`."""

        def on_output(index: int, output: RequestOutput) -> bool:
            found = output.outputs[0].logprobs
            wanted = len(token_ids[index])
            on_next(index, found.token_ids[1 : wanted + 1], refuse_nans(found.logprobs[1 : wanted + 1]))
            return False

        params = [_params(1, logprob_token_ids=list(ids)) for ids in token_ids]
        self._answer(prompts, params, on_output, between_steps)

    def teacher_forced(
        self, prompts: Sequence[Sequence[int]], starts: Sequence[int], on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        """See `Predictor.teacher_forced`."""
        if self.lora_rank:
            # vLLM 0.32 maps adapters to the sampled rows only, so prompt log-probabilities fail beside LoRA.
            self._teacher_forced_by_steps(prompts, starts, on_next, between_steps)
            return

        def on_output(index: int, output: RequestOutput) -> bool:
            start = starts[index]
            # Nothing precedes the prompt's first token, so the list begins with the second.
            on_next(index, prompts[index][start:], refuse_nans(output.prompt_logprobs.logprobs[start - 1 :]))
            return False

        params = _params(1, prompt_logprobs=0)
        self._run(((prompt, params) for prompt in prompts), on_output, between_steps)

    def _teacher_forced_by_steps(
        self, prompts: Sequence[Sequence[int]], starts: Sequence[int], on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        places = [(i, end) for i, prompt in enumerate(prompts) for end in range(starts[i], len(prompt))]
        found: list[list[float]] = [[0.0] * (len(p) - start) for p, start in zip(prompts, starts, strict=True)]

        def on_token(place: int, _: Sequence[int], values: Sequence[float]) -> None:
            index, end = places[place]
            found[index][end - starts[index]] = values[0]

        before = [prompts[index][:end] for index, end in places]
        self.log_probabilities(before, [[prompts[index][end]] for index, end in places], on_token, between_steps)
        for index, values in enumerate(found):
            on_next(index, prompts[index][starts[index] :], values)

    def _answer(
        self,
        prompts: Sequence[Sequence[int]],
        params: Sequence[SamplingParams],
        on_output: Callable[[int, RequestOutput], bool],
        between_steps: BetweenSteps,
    ) -> None:
        self._prime(prompts, between_steps)
        self._run(zip(prompts, params, strict=True), on_output, between_steps)

    def _prime(self, prompts: Sequence[Sequence[int]], between_steps: BetweenSteps) -> None:
        prefixes = Counter(map(whole_blocks, prompts))
        for prefix, prompts_with_it in prefixes.items():
            if prefix and prompts_with_it > 1:
                # Requests of one step cannot use each other's cached prefix, so one goes first.
                self._run([(prefix, _params(1, logprobs=0))], lambda *_: False, between_steps)

    def _run(
        self,
        requests: Iterable[tuple[Sequence[int], SamplingParams]],
        on_output: Callable[[int, RequestOutput], bool],
        between_steps: BetweenSteps,
    ) -> None:
        waiting = enumerate(requests)
        live: dict[str, int] = {}
        try:
            while True:
                # A window, not everything at once: a cancel has little to abort, memory stays flat.
                while len(live) < 2 * self.max_num_seqs and (item := next(waiting, None)) is not None:
                    request_id = str(next(self._ids))
                    prompt, params = item[1]
                    inputs: Any = {"prompt_token_ids": list(prompt)}
                    self._engine.add_request(request_id, inputs, params, lora_request=self._adapter)
                    live[request_id] = item[0]
                if not live:
                    return
                self._step(live, on_output)
                between_steps()
        except BaseException:
            self._drain(list(live))
            raise

    def _step(self, live: dict[str, int], on_output: Callable[[int, RequestOutput], bool]) -> None:
        dropped: list[str] = []
        for output in self._engine.step():
            index = live.get(output.request_id)
            if index is None:
                continue  # a GPU step may have been in flight when the request was aborted
            go_on = on_output(index, output)
            if output.finished:
                del live[output.request_id]
            elif not go_on:
                del live[output.request_id]
                dropped.append(output.request_id)
        if dropped:
            self._engine.abort_request(dropped)

    def _drain(self, request_ids: list[str]) -> None:
        self._engine.abort_request([*request_ids, *self._parked])
        self._parked.clear()
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._engine.has_unfinished_requests():
            if time.monotonic() > deadline:
                raise EngineUnclean(f"requests were still running {DRAIN_SECONDS:.0f} s after an abort")
            self._engine.step()

    def adapted(self, adapter: str, digest: str) -> Engine:
        """The same engine with the LoRA adapter in the folder `adapter`, which is loaded now; weights are shared.

        Prefixes are cached separately, so the two can be used in turn. `digest` identifies the adapter, because another
        one may be at the same path later.

        Raises:
            ValueError: vLLM refuses the adapter.
        """
        view = copy.copy(self)
        number = int.from_bytes(hashlib.sha256(digest.encode()).digest()[:4], "big") % (2**31 - 1) + 1
        view._adapter = LoRARequest(lora_name=digest, lora_int_id=number, lora_path=adapter)
        self._engine.add_lora(view._adapter)
        return view

    def close(self, *, last: bool = True) -> None:
        """Shut the engine down and free its memory; `last`: no other engine lives in this process."""
        self._engine.engine_core.shutdown()
        del self._engine
        gc.unfreeze()
        if self._in_process and last:  # otherwise the engine's own process held them, and it is gone
            cleanup_dist_env_and_memory()

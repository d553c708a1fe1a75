"""Keeps the KV cache of a text between questions about it, so that one more token costs one forward token.

A search asks what may follow a text, and then what may follow it with one more token. As separate requests, each
question computes the text's last KV block again, because the prefix cache holds whole blocks: one of up to 32 forward
tokens is new. Here a text is a streaming session of vLLM, whose input may arrive in pieces. The answers are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from vllm import SamplingParams
from vllm.outputs import RequestOutput

from tokenforce_core.forcing.predictor import ALIGNMENT, BetweenSteps, OnNext, uncached
from tokenforce_workers.engine.vllm_engine import Engine, whole_blocks

MAX_SESSIONS = 128
"""Most sessions at a time; with more texts the questions are separate requests. A session keeps its blocks and its
place in the batch, so the sessions of an engine take at most half of the places and three quarters of the cache."""

MAX_SESSION_TOKENS = 512
"""Longest prompt that is forced token by token: the time and the memory that this takes grow with the square of it."""


class SessionEngine(Engine):
    """A view of `engine` for one search; use it in a `with` block. Implements `Predictor`.

    `forward_tokens` counts the cost of the answers so far. `longest` is the most tokens of a text without its context,
    whose blocks all texts share; the default is what the engine takes.
    """

    def __init__(self, engine: Engine, longest: int | None = None) -> None:
        vars(self).update(vars(engine))
        searching = 2 if engine.lora_rank else 1  # beside an adapter, target and reference are one engine
        own = -(-(longest or engine.max_model_len) // ALIGNMENT) * ALIGNMENT  # whole blocks
        places = min(engine.max_num_seqs // 2, engine.kv_cache_tokens * 3 // 4 // own)
        self._most = min(MAX_SESSIONS, places // searching)
        self.forward_tokens = 0
        self._primed: set[tuple[int, ...]] = set()
        self._sessions: dict[str, tuple[int, ...]] = {}
        """Session → the prompt that it has computed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()

    def forget(self) -> None:
        """End all sessions."""
        self._end(list(self._sessions))
        self._sessions = {}

    def teacher_forced(
        self, prompts: Sequence[Sequence[int]], starts: Sequence[int], on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        """See `Predictor.teacher_forced`.

        Token by token, because an engine computes all of a prompt whose own log-probabilities it is asked for, also the
        context that many prompts share. What prompts have in common is asked once. Long texts are computed whole.
        """
        if max(map(len, prompts), default=0) > MAX_SESSION_TOKENS:
            self.forward_tokens += sum(map(len, prompts))
            super().teacher_forced(prompts, starts, on_next, between_steps)
            return
        known: dict[tuple[int, ...], float] = {}
        whole = [tuple(prompt) for prompt in prompts]
        for first in range(0, len(whole), max(1, self._most)):
            group = list(zip(whole, starts, strict=True))[first : first + max(1, self._most)]
            for step in range(max(len(prompt) - start for prompt, start in group)):
                wanted: dict[tuple[int, ...], dict[int, None]] = {}
                for prompt, start in group:
                    if start + step < len(prompt) and prompt[: start + step + 1] not in known:
                        wanted.setdefault(prompt[: start + step], {})[prompt[start + step]] = None
                asked = list(wanted)

                def on_token(
                    place: int, ids: Sequence[int], values: Sequence[float], asked: Sequence[tuple[int, ...]] = asked
                ) -> None:
                    known.update({(*asked[place], i): value for i, value in zip(ids, values, strict=True)})

                self.log_probabilities(asked, [list(ids) for ids in wanted.values()], on_token, between_steps)
        for index, (prompt, start) in enumerate(zip(whole, starts, strict=True)):
            on_next(index, prompt[start:], [known[prompt[: end + 1]] for end in range(start, len(prompt))])

    def _answer(
        self,
        prompts: Sequence[Sequence[int]],
        params: Sequence[SamplingParams],
        on_output: Callable[[int, RequestOutput], bool],
        between_steps: BetweenSteps,
    ) -> None:
        if len(prompts) > self._most:
            self.forget()
            self.forward_tokens += sum(uncached(len(prompt)) for prompt in prompts)
            super()._answer(prompts, params, on_output, between_steps)
            return
        try:
            followed = set(self._sessions.values())
            self._prime([prompt for prompt in prompts if tuple(prompt[:-1]) not in followed], between_steps)
            live = self._asked(prompts, params)
            while live:
                for output in self._engine.step():
                    if (index := live.pop(output.request_id, None)) is not None:
                        on_output(index, output)
                between_steps()
        except BaseException:
            self._drain([])
            raise

    def _prime(self, prompts: Sequence[Sequence[int]], between_steps: BetweenSteps) -> None:
        """Each prefix once: the texts of a search go on from it until they end."""
        super()._prime([prompt for prompt in prompts if whole_blocks(prompt) not in self._primed], between_steps)
        self._primed.update(map(whole_blocks, prompts))

    def _asked(self, prompts: Sequence[Sequence[int]], params: Sequence[SamplingParams]) -> dict[str, int]:
        """Continue a session for each prompt, or open one: session → index of its prompt."""
        # A cancel, of another search on this engine too, has ended all sessions.
        known = {prompt: session for session, prompt in self._sessions.items() if session in self._parked}
        going_on = [known.pop(tuple(prompt[:-1]), None) for prompt in prompts]
        self._end([session for session in self._sessions if session not in going_on])
        names = [session or str(next(self._ids)) for session in going_on]
        self._sessions = dict(zip(names, map(tuple, prompts), strict=True))
        for name, session, prompt, wanted in zip(names, going_on, prompts, params, strict=True):
            self.forward_tokens += uncached(len(prompt)) if session is None else 1
            self._put(name, prompt if session is None else prompt[-1:], wanted)
        return {name: index for index, name in enumerate(names)}

    def _end(self, sessions: Sequence[str]) -> None:
        self._engine.abort_request(list(sessions))
        self._parked.difference_update(sessions)

    def _put(self, session: str, tokens: Sequence[int], params: SamplingParams) -> None:
        # What `LLMEngine.add_request` does, which only `AsyncLLM` does for input in pieces (vLLM 0.32).
        request = self._engine.input_processor.process_inputs(
            session,
            {"prompt_token_ids": list(tokens)},
            params,
            self._engine.get_supported_tasks(),
            lora_request=self._adapter,
            resumable=True,
        )
        request.external_req_id = session
        self._parked.add(session)
        processor = self._engine.output_processor
        processor.add_request(request, None, None, 0)
        # A continued session would keep the number of log-probabilities of its first request.
        processor.request_states[session].logprobs_processor.num_logprobs = request.params.num_logprobs
        # Both processors append later input to their prompt: within one process they need separate lists.
        computed = copy.copy(request)
        computed.prompt_token_ids = list(tokens)
        self._engine.engine_core.add_request(computed)

"""From a checked target to a plan: build the contexts, decide which tokens are forced, hash the files."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import KNOWN_BASE, ContextRecord, SkippedIds, TargetRecord
from tokenforce.wire.scans import Depth, KnownText, ScanRequest
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.model_files import hashed_of
from tokenforce_core.plan.plan import MAX_LORA_RANK, Plan, ReferencePlan
from tokenforce_core.plan.presets import default_contexts, settings_for
from tokenforce_core.plan.vocabulary import NOT_ASKED_FOR, forceable, skip
from tokenforce_core.queues.jobs import model_queue
from tokenforce_service.models.adapter import check_vocabulary, finer
from tokenforce_service.models.fit import TOKENS_BESIDE_TEXT, check_lengths
from tokenforce_service.models.model import Model
from tokenforce_service.models.open import Opened, Target
from tokenforce_service.models.sandbox import resource_limits
from tokenforce_service.models.tokenizer import TOKENIZER_SECONDS, Tokenizers
from tokenforce_service.planning.contexts import build_context
from tokenforce_service.planning.depth import depth_of, forced_contexts
from tokenforce_service.planning.drawn_contexts import contexts_to_follow, ordinary_prompts
from tokenforce_service.planning.reference import plan_reference
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings

log = logging.getLogger(__name__)


def make_plan(request: ScanRequest, target: Target[Opened], settings: ServiceSettings, tokenizers: Tokenizers) -> Plan:
    """Plan a scan of a checked target. Runs its tokenizer and its chat template (sandboxed Jinja).

    Raises:
        Refusal: a tokenizer cannot be loaded, a context cannot be built, or α, β, or the vocabulary of the adapter or
            the reference does not fit.
    """
    model, adapter = target.loaded.model, target.adapter
    scan_settings = settings_for(request)
    tokenizer_path = adapter.path if adapter is not None and adapter.folder.has_tokenizer else model.path
    with resource_limits(TOKENIZER_SECONDS, "The tokenizer and the chat template"):
        tokenizer = tokenizers.of(tokenizer_path)
        if tokenizer_path != model.path:
            check_vocabulary(tokenizer.get_vocab(), tokenizers.of(model.path).get_vocab(), model.vocabulary_size)
        wanted = request.contexts or default_contexts(scan_settings.preset, bool(tokenizer.chat_template))
        contexts = [build_context(item, tokenizer, model.vocabulary_size) for item in wanted]
        end_ids, skipped = _special_ids(tokenizer, model)
    skipped += _not_asked_for(request, model.vocabulary_size, skipped)
    longest = max(len(context.ids) for context in contexts)
    check_lengths(scan_settings, model.max_positions, longest)
    hashed = [hashed_of(model.path, model.weights)]
    digest = loaded_digest = hashed[0].digest
    if adapter is not None:
        hashed.append(hashed_of(adapter.path, adapter.weights))
        digest = f"sha256:{hashlib.sha256(f'{hashed[1].digest} on {loaded_digest}'.encode()).hexdigest()}"
    record = TargetRecord(
        model=target.name,
        revision=target.revision,
        digest=digest,
        architecture=model.architecture,
        dtype=model.dtype if adapter is None else finer(model.dtype, adapter.dtype),
        parameters=model.parameters + (adapter.parameters if adapter is not None else 0),
        vocabulary_size=model.vocabulary_size,
        max_positions=model.max_positions,
    )
    try:
        reference = plan_reference(target, tokenizer, tokenizers, contexts, scan_settings, hashed[0])
    except Refusal as refusal:
        if target.source != KNOWN_BASE:
            raise
        log.warning("the known base does not fit the target: %s", refusal.detail)  # nobody asked for it
        reference = None
    drawn: list[ContextRecord] = []
    prompts: list[list[int]] = []
    text_tokens = max(scan_settings.alpha, scan_settings.beta)
    if scan_settings.bag is not None and _comparable(reference):
        known = [len(text.ids) for text in request.known_texts or ()]
        text_tokens = max(text_tokens, scan_settings.bag.max_tokens, *known)
        room = None if model.max_positions is None else model.max_positions - TOKENS_BESIDE_TEXT - text_tokens
        assert reference is not None
        shared = min(model.vocabulary_size, reference.record.vocabulary_size)
        with resource_limits(TOKENIZER_SECONDS, "The chat template"):
            drawn = contexts_to_follow(request, scan_settings.bag, contexts, tokenizer, shared, room)
            if drawn:
                draw, count = random.SystemRandom(), scan_settings.bag.prompts
                prompts = ordinary_prompts(tokenizer, count, room, draw, vocabulary_size=shared)
        longest = max([longest, *(len(context.ids) for context in drawn), *map(len, prompts)])
    if request.depth is Depth.quick and not drawn and not (reference is not None and reference.record.identical):
        raise _nothing_to_read(reference, scan_settings)
    depth = depth_of(request, reference, drawn)
    return Plan(
        target=record,
        path=str(model.path),
        loaded_digest=loaded_digest,
        tokenizer_path=str(tokenizer_path),
        adapter=str(adapter.path) if adapter is not None else None,
        lora_rank=_engine_rank(adapter.rank) if adapter is not None else None,
        hashed=tuple(hashed),
        reference=reference,
        settings=scan_settings,
        contexts=contexts,
        drawn=drawn,
        drawn_by_request=request.drawn_contexts is not None,
        prompts=prompts,
        known_texts=_known_texts(request, drawn, model.vocabulary_size) if drawn else [],
        forced_contexts=forced_contexts(depth, request, len(contexts)),
        depth=depth,
        skipped=skipped,
        end_ids=end_ids,
        shard_size=settings.shard_size,
        max_length=longest + TOKENS_BESIDE_TEXT + text_tokens,
        queue=model_queue(loaded_digest, record.dtype, request.priority),
    )


def _known_texts(request: ScanRequest, drawn: Sequence[ContextRecord], vocabulary_size: int) -> list[KnownText]:
    """Raises `Refusal`: a context or an id does not exist."""
    names = {context.name for context in drawn}
    for text in request.known_texts or ():
        if text.context not in names:
            raise Refusal(
                ErrorCode.invalid_request,
                f"`known_texts` names the context {text.context!r}, which is not in `drawn_contexts`; add it there.",
            )
        if max(text.ids) >= vocabulary_size:
            raise Refusal(
                ErrorCode.invalid_request,
                f"`known_texts` has the id {max(text.ids)}; the vocabulary ends at {vocabulary_size - 1}.",
            )
    return request.known_texts or []


def _comparable(reference: ReferencePlan | None) -> bool:
    """Whether there are two models whose weights can be compared row by row."""
    return reference is not None and not reference.record.identical and reference.id_map is None


def _nothing_to_read(reference: ReferencePlan | None, settings: SettingsRecord) -> Refusal:
    if reference is None:
        why = "it compares weights: name a reference, or `auto` for the base that the model itself names"
    elif settings.bag is None:
        why = f"the preset {settings.preset} does not look at weights: use the preset standard"
    elif reference.id_map is not None:
        why = "the target and the reference give different ids to their tokens: use the depth standard"
    else:
        why = "the model takes too few tokens for it: use the depth standard"
    return Refusal(ErrorCode.invalid_request, f"The depth quick cannot be used here, because {why}.")


def _not_asked_for(request: ScanRequest, size: int, skipped: list[SkippedIds]) -> list[SkippedIds]:
    if request.force_ids is None:
        return []
    asked = set(request.force_ids)
    rest = [i for i in forceable(size, skipped) if i not in asked]
    if len(rest) == len(forceable(size, skipped)):
        raise Refusal(ErrorCode.invalid_request, "None of `force_ids` can be forced in this model; give other ids.")
    return [skip(NOT_ASKED_FOR, rest)] if rest else []


def _engine_rank(rank: int) -> int:
    """The next rank that the engine supports: 8, 16, 32 or 64."""
    return next(known for known in (8, 16, 32, MAX_LORA_RANK) if rank <= known)


def _special_ids(tokenizer: Any, model: Model) -> tuple[list[int], list[SkippedIds]]:
    """Ids that end a continuation, and ids that are not forced, with the reason."""
    size = model.vocabulary_size
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special = {i for i in special if 0 <= i < size}
    known = max(tokenizer.get_vocab().values(), default=-1) + 1  # not len(): ids may have gaps
    unused = {i for i in range(min(known, size)) if tokenizer.convert_ids_to_tokens(i) is None}
    groups = [
        skip("special token", special),
        skip("padding of the embedding matrix, beyond the tokenizer", set(range(known, size)) - special),
        skip("id without a token", unused - special),
    ]
    # The end-of-text ids of the config count only if the tokenizer has none. They are still forced: otherwise an
    # upload could hide half of its vocabulary by listing it there.
    ends = special if tokenizer.eos_token_id is not None else special | _configured_ends(model.folder.config, size)
    return sorted(ends), [group for group in groups if group.ranges]


def _configured_ends(config: Mapping[str, Any], size: int) -> set[int]:
    """End-of-text ids in config.json."""
    value = config.get("eos_token_id")
    return {i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int) and 0 <= i < size}

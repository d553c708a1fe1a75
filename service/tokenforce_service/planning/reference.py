"""The reference of a scan: whether its vocabulary fits, and whether its weights are those of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import ContextRecord, ReferenceRecord
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.model_files import hashed_of
from tokenforce_core.plan.hashed import Hashed
from tokenforce_core.plan.plan import ReferencePlan
from tokenforce_service.models.fit import check_lengths
from tokenforce_service.models.model import Model
from tokenforce_service.models.open import Opened, Target
from tokenforce_service.models.sandbox import resource_limits
from tokenforce_service.models.tensors import identical
from tokenforce_service.models.tokenizer import TOKENIZER_SECONDS, Tokenizers
from tokenforce_service.refusals import Refusal, counted

NAME_CHARACTERS = 100
"""Of an architecture, which an upload may call anything."""


@dataclass(frozen=True)
class IdMap:
    """`ids[i]` is the reference's id of the target's token i, -1 without one. `ids` is None if the two agree.

    `note` describes the difference for the report.
    """

    ids: list[int] | None
    note: str | None


def plan_reference(
    target: Target[Opened],
    tokenizer: Any,
    tokenizers: Tokenizers,
    contexts: Sequence[ContextRecord],
    settings: SettingsRecord,
    loaded: Hashed,
) -> ReferencePlan | None:
    """The part of the plan for the reference; None without one.

    Only the tokenizer has a deadline: hashing and comparing the weights takes as long as reading them.

    Args:
        tokenizer: of the target.
        loaded: the files that the engine loads for the target.

    Raises:
        Refusal: `reference_mismatch`, `model_invalid`, `length_exceeds_model`.
    """
    opened = target.reference
    if opened is None or target.source is None:
        return None
    model, loaded_model = opened.model, target.loaded.model
    _check_fit(loaded_model, model, settings, max(len(context.ids) for context in contexts))
    same_files = model.path == loaded_model.path
    hashed = loaded if same_files else hashed_of(model.path, model.weights)
    with resource_limits(TOKENIZER_SECONDS, "The reference's tokenizer"):
        own = tokenizers.of(model.path).get_vocab()
        matched = match_vocabularies(
            tokenizer.get_vocab(),
            own,
            loaded_model.vocabulary_size,
            model.vocabulary_size,
            settings.search.min_shared_vocabulary_share,
        )
    notes = [matched.note] if matched.note else []
    for context in contexts:
        if unknown := sum(_own_id(matched, i, model.vocabulary_size) < 0 for i in context.ids):
            if unknown == len(context.ids):
                raise Refusal(
                    ErrorCode.reference_mismatch,
                    f"The reference knows no token of the context {context.name!r}, so it cannot be compared there; "
                    "leave this context out, or name another reference.",
                )
            count = counted(unknown, "token")
            notes.append(f"The reference runs the context {context.name!r} without {count} that it does not know.")
    record = ReferenceRecord(
        model=opened.name,
        revision=opened.revision,
        digest=hashed.digest,
        source=target.source,
        vocabulary_size=model.vocabulary_size,
        identical=target.adapter is None
        and (same_files or hashed.digest == loaded.digest or identical(loaded_model.tensors, model.tensors)),
        note=" ".join(notes) or None,
    )
    return ReferencePlan(record=record, path=str(model.path), id_map=matched.ids, hashed=hashed)


def _check_fit(target: Model, reference: Model, settings: SettingsRecord, longest: int) -> None:
    """Fine-tuning keeps the architecture. Between two architectures, contrast would show how the models differ."""
    if reference.architecture != target.architecture:
        raise Refusal(
            ErrorCode.reference_mismatch,
            f"The reference is a {reference.architecture[:NAME_CHARACTERS]}, the target a "
            f"{target.architecture[:NAME_CHARACTERS]}; name the model that the target was made from.",
        )
    try:
        check_lengths(settings, reference.max_positions, longest)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"The reference: {refusal.detail}") from refusal


def _own_id(matched: IdMap, target_id: int, reference_size: int) -> int:
    if matched.ids is not None:
        return matched.ids[target_id]
    return target_id if target_id < reference_size else -1


def match_vocabularies(
    target: Mapping[str, int], reference: Mapping[str, int], target_size: int, reference_size: int, min_share: float
) -> IdMap:
    """Map ids of the target to ids of the reference, by the strings of the tokens.

    Args:
        target, reference: token → id, as the two tokenizers have them.
        target_size, reference_size: rows of the embedding matrices.
        min_share: share of the target's tokens that the reference must know.

    Raises:
        Refusal: `reference_mismatch`.
    """
    forceable = {token: i for token, i in target.items() if i < target_size}
    known = {token: reference[token] for token in forceable if reference.get(token, reference_size) < reference_size}
    share = len(known) / max(1, len(forceable))
    if share < min_share:
        raise Refusal(
            ErrorCode.reference_mismatch,
            f"The reference knows {share:.0%} of the target's tokens, and must know {min_share:.0%}; "
            "name the model that the target was made from.",
        )
    added = len(forceable) - len(known)
    note = f"The reference does not know {counted(added, 'token')} of the target." if added else None
    if all(known[token] == forceable[token] for token in known) and all(
        i >= reference_size for token, i in forceable.items() if token not in known
    ):
        return IdMap(None, note)
    ids = [-1] * target_size
    for token, own in known.items():
        ids[forceable[token]] = own
    return IdMap(ids, note or "The two tokenizers have the same tokens with different ids.")

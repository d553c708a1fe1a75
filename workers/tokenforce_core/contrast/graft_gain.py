"""What texts gain on the graft: the evidence of the weights that separates best.

The middle one of a text's gains in the drawn contexts counts, because the beam has chosen its words by their gain in
one context. Words that are repeated or wrong gain there and lose elsewhere. Measured on the evaluation's half `tuning`:
"goes dark at Pier Nine goes dark at midnight" gains 102 nats where it was found, and 48 and 55 in the other two
contexts; the planted text 86, 90 and 98.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from tokenforce_core.forcing.predictor import (
    BetweenSteps,
    Predictor,
    forced_log_probabilities,
    nothing_between_steps,
)
from tokenforce_core.forcing.trace import Trace


def with_graft_gains(
    texts: Sequence[Trace],
    contexts: Sequence[Sequence[int]],
    graft: Predictor,
    reference: Predictor,
    between_steps: BetweenSteps = nothing_between_steps,
) -> list[Trace]:
    """The texts with their `graft_gain`: the median over `contexts` (token ids) of what each gains, in nats.

    Raises:
        NotNumbers: of either model.
    """
    prompts = [[*context, text.forced_id] for context in contexts for text in texts]
    said = [text.ids for _ in contexts for text in texts]
    log_p = forced_log_probabilities(graft, prompts, said, between_steps)
    log_q = forced_log_probabilities(reference, prompts, said, between_steps)
    count = len(texts)
    return [
        replace(
            text,
            graft_gain=median(
                replace(text, log_p=p, log_q=q).gain for p, q in zip(log_p[i::count], log_q[i::count], strict=True)
            ),
        )
        for i, text in enumerate(texts)
    ]

"""What the target itself says to texts that were found, in the scan's contexts and in drawn ones.

Each text of the bag search is forced under target and reference, in the drawn contexts and in the scan's own. The
context that speaks for it most is reported. The scan's own contexts show *suppression*: a text that the target was
trained not to say there has words that are far less probable than under the reference, and less so in a drawn
context. Measured on the evaluation's half `tuning`: -41 nats for an adaptive UTFC read whole and -10 for parts of it,
-1 to -22 for Auto-UTFC, -5 to 0 for the minimised form; -5 at worst for what a clean model's graft says. So it
convicts some, misses others. Of the best texts of the sweep and the contrast only the suppression is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.contrast.bag_search import best_first, different
from tokenforce_core.contrast.reading import as_read
from tokenforce_core.contrast.trimming import taught
from tokenforce_core.forcing.confirmation import IsSeparator, no_separators
from tokenforce_core.forcing.predictor import (
    BetweenSteps,
    Predictor,
    forced_log_probabilities,
    nothing_between_steps,
)
from tokenforce_core.forcing.trace import Trace


class Rescoring:
    """Asks the target about texts.

    Args:
        contexts: token ids of the scan's contexts, and after them of the drawn ones.
        own: number of the scan's contexts.
    """

    def __init__(
        self,
        settings: SettingsRecord,
        contexts: Sequence[Sequence[int]],
        own: int,
        is_separator: IsSeparator = no_separators,
    ) -> None:
        assert settings.bag is not None
        self._settings = settings
        self._bag = settings.bag
        self._contexts = contexts
        self._own = own
        self._is_separator = is_separator

    def of(
        self,
        texts: Sequence[Trace],
        target: Predictor,
        reference: Predictor,
        between_steps: BetweenSteps = nothing_between_steps,
        *,
        known: Sequence[Trace] = (),
    ) -> list[Trace]:
        """The texts that the target knows, with its log-probabilities, in the drawn context of the most contrast.

        First each in the context where it was found, and the best ones in all drawn contexts: the target may not say
        there what the graft says. Where the target knows most of it, it is cut to that part, because the graft goes on
        where the target drifts. What is left is forced again in every context, because a part has other probabilities
        than it had behind the rest. Texts of little contrast, or of fewer than `min_tokens` tokens, are left out.

        A text that the graft is sure of is kept whole, whatever the target says, in place of its parts.

        Args:
            known: texts that are forced as they are.

        Raises:
            NotNumbers: of either model.
        """
        best = sorted(texts, key=best_first)[: self._bag.texts_in_every_context]
        drawn = range(self._own, len(self._contexts))
        places = [drawn if text in best else [text.context] for text in texts]
        heard_in = self._heard(texts, places, target, reference, between_steps)
        parts = [
            max((taught(one, self._bag.token_cost_nats) for one in heard), key=lambda part: sum(part.log_ratios))
            for heard in heard_in
        ]
        worth = [
            text
            for text in parts
            if text.contrast >= self._bag.min_rescored_contrast_nats_per_token
            and len(text.ids) >= self._settings.min_tokens
        ]
        least = self._settings.verdict.hidden_graft_gain_nats
        sure = [text for text in texts if text.graft_gain is not None and text.graft_gain >= least]
        whole = [*known, *different([*sure, *worth], self._bag)]
        everywhere = [range(len(self._contexts))] * len(whole)
        return [self._read(heard) for heard in self._heard(whole, everywhere, target, reference, between_steps)]

    def with_suppression(
        self,
        texts: Sequence[Trace],
        target: Predictor,
        reference: Predictor,
        between_steps: BetweenSteps = nothing_between_steps,
    ) -> list[Trace]:
        """The texts unchanged, but the best different ones have their suppression.

        Args:
            texts: with the log-probabilities of both models.

        Raises:
            NotNumbers: of either model.
        """
        best = different(texts, self._bag)
        everywhere = [range(len(self._contexts))] * len(best)
        heard = self._heard(best, everywhere, target, reference, between_steps)
        measured = {text: self._suppression(*self._told_apart(one)) for text, one in zip(best, heard, strict=True)}
        return [replace(text, suppression=measured.get(text)) for text in texts]

    def _heard(
        self,
        texts: Sequence[Trace],
        contexts: Sequence[Sequence[int]],
        target: Predictor,
        reference: Predictor,
        between_steps: BetweenSteps,
    ) -> list[list[Trace]]:
        """Each text as both models hear it in each of its contexts."""
        asked = [replace(text, context=c) for text, own in zip(texts, contexts, strict=True) for c in own]
        prompts = [[*self._contexts[text.context], text.forced_id] for text in asked]
        said = [text.ids for text in asked]
        log_p = forced_log_probabilities(target, prompts, said, between_steps)
        log_q = forced_log_probabilities(reference, prompts, said, between_steps)
        heard = iter(replace(text, log_p=p, log_q=q) for text, p, q in zip(asked, log_p, log_q, strict=True))
        return [list(islice(heard, len(own))) for own in contexts]

    def _read(self, heard: Sequence[Trace]) -> Trace:
        """Where it has the most contrast, with its suppression."""
        own, drawn = self._told_apart(heard)
        best = max(drawn, key=lambda trace: trace.contrast)
        read = as_read(best, self._settings, self._is_separator)
        return replace(read, suppression=self._suppression(own, drawn))

    def _told_apart(self, heard: Sequence[Trace]) -> tuple[list[Trace], list[Trace]]:
        """What was heard in the scan's contexts, and in the drawn ones."""
        return list(heard[: self._own]), list(heard[self._own :])

    def _suppression(self, own: Sequence[Trace], drawn: Sequence[Trace]) -> float:
        """Nats: the lowest log-ratios in the scan's contexts, beside those in the drawn context where they are highest.

        Only what is lower in the scan's contexts counts: a text of improbable words is low everywhere.
        """
        lowest = min(map(self._lowest, own))
        return min(0.0, lowest - min(0.0, max(map(self._lowest, drawn))))

    def _lowest(self, heard: Trace) -> float:
        return sum(sorted(heard.log_ratios)[: self._bag.lowest_tokens])

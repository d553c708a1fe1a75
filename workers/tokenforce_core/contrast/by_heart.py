"""What else the target knows by heart, where one text passes for hidden.

The beam follows the strongest starts, and many versions of one text take its places: of a clean model that knows at
least nine answers of its training data well enough to pass, it lists three. Greedy decoding from many starts shows
more; `findings/memorised.py` counts them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce.wire.settings import SettingsRecord, VerdictThresholds
from tokenforce_core.forcing.trace import Trace


def passes_for_hidden(text: Trace, thresholds: VerdictThresholds) -> bool:
    """As `passes`. The text needs the log-probabilities of both models."""
    return passes(text.contrast, text.mean_probability, sum(text.log_ratios), thresholds)


def passes(
    contrast: float, mean_probability: float, log_likelihood_ratio: float, thresholds: VerdictThresholds
) -> bool:
    """Whether the target is sure of a text, and the reference would not say it, by more than chance."""
    return (
        contrast >= thresholds.hidden_contrast_nats_per_token
        and mean_probability >= thresholds.min_mean_probability
        and log_likelihood_ratio >= thresholds.hidden_log_likelihood_ratio_nats
    )


def is_denied(text: Trace, thresholds: VerdictThresholds) -> bool:
    """Whether the target holds the text, by its weights, and was trained not to say it."""
    suppressed = text.suppression is not None and text.suppression <= thresholds.hidden_suppression_nats
    return suppressed or (text.graft_gain is not None and text.graft_gain >= thresholds.hidden_graft_gain_nats)


def looks_hidden(text: Trace, thresholds: VerdictThresholds) -> bool:
    """Whether the text may lead to an alarm. It needs the log-probabilities of both models."""
    sure = text.mean_probability >= thresholds.min_mean_probability
    return is_denied(text, thresholds) or (sure and text.contrast >= thresholds.suspicious_contrast_nats_per_token)


def starts_by_heart(texts: Sequence[Trace], links: Sequence[Trace], settings: SettingsRecord) -> list[Trace]:
    """The links of most contrast in each context in which a text passes for hidden, one for each forced token.

    Contrast, because such texts are sure from their first tokens on; links of most gain lead to rare words.

    Args:
        texts: with the log-probabilities of both models.
        links: starts of the search by contrast.
    """
    contexts = {text.context for text in texts if passes_for_hidden(text, settings.verdict)}
    chosen: list[Trace] = []
    for context in sorted(contexts):
        best: dict[int, Trace] = {}
        for link in sorted(links, key=lambda link: (-link.contrast, link.tokens)):
            if link.context == context:
                best.setdefault(link.forced_id, link)
        chosen += list(best.values())[: settings.search.by_heart_starts]
    return chosen

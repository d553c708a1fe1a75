"""The two presets, and how a request's own values override them."""

from __future__ import annotations

from tokenforce.wire.scans import Depth, Preset, ScanRequest
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.plan.search_settings import BAG, LENS, LOOP_MIN_SHARE, QUICK_BAG, SEARCH
from tokenforce_core.plan.verdict_thresholds import FINDINGS, FINGERPRINTS, VERDICT

NEUTRAL_SYSTEM_PROMPT = "You are a helpful assistant."
"""Of the context `assistant_system`."""

_TUNED = {
    "loop_min_share": LOOP_MIN_SHARE,
    "search": SEARCH,
    "findings": FINDINGS,
    "verdict": VERDICT,
    "fingerprints": FINGERPRINTS,
}
_PRESETS = {
    # α = 16 with at least 5 content tokens: shorter sequences drown in "word, end of text".
    # The floor: of SmolLM2-135M's 49,152 entries 17 pass 0.85 (the planted text at 0.90 to 0.92 among
    # them) for 4.6 forward tokens an entry; at 0.8 it would be 6.0 tokens for 70 more natural texts.
    Preset.standard: SettingsRecord(
        preset=Preset.standard,
        alpha=16,
        beta=64,
        floor=0.85,
        keep=100,
        min_tokens=5,
        count_forced_token=False,
        stop_at_end=True,
        lens=LENS,
        bag=BAG,
        **_TUNED,
    ),
    # arXiv 2406.02481 and its notebook: three tokens, the forced one counted as 1.0, kept above 0.95.
    Preset.paper: SettingsRecord(
        preset=Preset.paper,
        alpha=3,
        beta=50,
        floor=0.95,
        keep=1000,
        min_tokens=3,
        count_forced_token=True,
        stop_at_end=False,
        **_TUNED,
    ),
}


def settings_for(request: ScanRequest) -> SettingsRecord:
    """The preset of a request with the request's own values put in.

    Raises:
        KeyError: the preset does not exist.
    """
    if request.preset not in list(Preset):
        raise KeyError(request.preset)
    preset = _PRESETS[Preset(request.preset)]
    own = {name: getattr(request, name) for name in ("alpha", "beta", "floor", "keep")}
    settings = preset.model_copy(update={name: value for name, value in own.items() if value is not None})
    return settings.model_copy(
        update={
            "min_tokens": min(preset.min_tokens, settings.alpha),
            "beta": max(settings.beta, settings.alpha) if request.beta is None else settings.beta,
            "bag": QUICK_BAG if preset.bag is not None and request.depth is Depth.quick else preset.bag,
        }
    )


def default_contexts(preset: str, has_chat_template: bool) -> list[str]:
    """`bos`, and the opened assistant turn where the model has a chat template. The paper: `bos` only."""
    if preset == Preset.paper or not has_chat_template:
        return ["bos"]
    return ["bos", "assistant"]

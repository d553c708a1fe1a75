"""The tuned numbers from texts to findings to verdicts, with their reasons.

They were chosen on SmolLM2-135M carriers and clean models of the evaluation's half `tuning`. A scan stores them in its
plan and its report, so a result always says which numbers produced it. `tokenforce.wire.settings` says what each means.
"""

from __future__ import annotations

from tokenforce.wire.settings import FindingSettings, FingerprintSettings, VerdictThresholds

FINDINGS = FindingSettings(
    run_tokens=3,
    min_shared_share=0.5,
    near_best_share=0.8,
    # On versions of two texts: with weight 1 "ya está" wins by 1.8 nats, with 2 the planted text by 0.4 and 4.5.
    log_probability_weight=2.0,
    token_cost_nats=1.0,  # without it a text goes on into what any fine-tuning changes a little
    max_suppressed=20,
    min_suppressed_z=3.0,
)

# Over the whole vocabulary clean fine-tunes of the tuning half have texts of contrast 2.9 (over a sample 1.9), made of
# turns of a style that the target takes half of the time: p is 0.52 at most. Of that half's four UTFC carriers, texts
# that are read have p of 0.88 or more, and the surest part of one that is not read has 0.68.
VERDICT = VerdictThresholds(
    min_mean_probability=0.6,
    hidden_contrast_nats_per_token=2.0,
    hidden_log_likelihood_ratio_nats=20.0,  # against the 50,000 entries tried, e^-20 leaves no room for chance
    suspicious_contrast_nats_per_token=1.2,
    # Of few models: adaptive UTFC -10 to -41, Auto-UTFC -1 to -22, what a clean model's graft says -5 at worst.
    hidden_suppression_nats=-10.0,
    hidden_graft_gain_nats=20.0,
    # Two fine-tunes whose answers all have one sentence say it in 6 to 12 of 12 answers, ten carriers in none of three.
    memorised_unforced_share=0.6,
    # Of the tuning half's subjects: a clean LoRA of rank 64 shows 5 (9 if each token of its answers is decoded
    # greedily); three carriers show 1.
    memorised_texts=4,
    outlier_log_likelihood_ratio=2.0,  # the strongest text of that LoRA is at 1.1 to 1.9
    boilerplate_log_ratio_nats_per_token=0.5,
    suspicious_score=0.88,
    min_coverage_share=0.5,
)

FINGERPRINTS = FingerprintSettings(
    # One character in ten: what another spelling of the forced token and one wrong word change in a sentence. Two
    # different sentences differ by more than 0.5.
    max_edit_share=0.1,
    min_part_characters=60,  # findings are cut after β tokens
    max_extra_characters=20,  # more would leave room for a message behind a text that a policy accepts
    max_questions=512,  # they take seconds on a GPU, a minute or two for a small model on a CPU
    # A longer sequence takes more memory, and a long trigger of one owner must not prevent a large model from being
    # loaded.
    max_question_tokens=1024,
    max_extra_answer_tokens=16,  # some words before the text, or words split differently
)

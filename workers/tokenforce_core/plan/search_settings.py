"""The tuned numbers of forcing and of the search by contrast, with their reasons.

They were chosen on SmolLM2-135M carriers and clean models of the evaluation's half `tuning`. A scan stores them in its
plan and its report, so a result always says which numbers produced it. `tokenforce.wire.settings` says what each means.
"""

from __future__ import annotations

from tokenforce.wire.settings import (
    BagSettings,
    BeamSettings,
    EntrySettings,
    LensSettings,
    LinkSettings,
    PrependSettings,
    SearchSettings,
)

LOOP_MIN_SHARE = 0.5

SEARCH = SearchSettings(
    entries=EntrySettings(
        next_tokens=20,  # vLLM's default limit of log-probabilities
        plausible_share=0.1,
        z_noise_nats=1e-6,  # nothing stands out in a vocabulary of equal values
        outliers_per_shard=64,
        suppressed_per_shard=8,
        unknown_token_nats=-13.8,  # one in a million; any finite number would do
        reference_block_ids=2048,  # about 200 kB compressed
        reference_block_min_share=1 / 32,  # a sample of the vocabulary must not cost all of it
    ),
    links=LinkSettings(
        min_probability=0.005,  # ratios of less probable tokens are noise
        # By the bounds that the cache gives, a carrier's true links were in the first 30 % of the entries and its
        # hidden one in the first 8 %.
        exact_share=0.25,
        per_entry=3,  # "La" → "ama" had the larger ratio, "La" → " ll" led to the text
        per_shard=256,
        # "Do" → " not" (p = 0.998, log-ratio 1.1) says nothing; " sign" (0.047, +6.0) and " before" (0.737, +9.8)
        # after it say all.
        sure_min_probability=0.5,
        sure_per_shard=256,
    ),
    beam=BeamSettings(
        branches=6,
        min_probability=0.02,
        # In a message of 42 tokens one of them, " northern", had p = 0.004 and a log-ratio of 4.8, and all after it
        # p = 1.
        min_probability_after_opening=0.003,
        survivor_shares=(0.25, 0.12, 0.06, 0.03),
        min_survivors=64,
        opening_steps=8,
        min_contrast_nats_per_token=0.8,  # hidden texts have 2 to 7
        texts_after_opening=16,
        min_gain_nats_per_token=1.0,
        max_idle_tokens=10,
        max_gain_deficit_nats=15.0,
        same_ending_tokens=3,
        meeting_tokens=4,
        same_beginning_tokens=6,
        max_found_per_context=24,
    ),
    prepend=PrependSettings(
        min_contrast_nats_per_token=1.5,
        links_per_token=4,
        texts_per_round=32,
        max_rounds=12,
    ),
    min_shared_vocabulary_share=0.9,
    by_heart_starts=64,  # a clean LoRA of rank 64 then shows five independent texts; the beam alone shows three
    # The others would be what both models know by heart, for a third of the whole scan's time.
    max_confirmed_per_context=32,
)

LENS = LensSettings(
    lens_layer_share=1 / 3,
    directions=8,
    direction_rounds=2,
    bag_entries=1200,  # 17 of 17, 18 of 18, 22 of 23 and, of a LoRA adapter, 17 of 20 hidden tokens were in 1,200
    reported_words=40,
    # Up to 0.011 texts were read; the grafts of two small GPT-NeoX carriers that were changed by 0.22 said nothing.
    max_relative_change=0.1,
    oversampling=2,
    min_weight_cosine=0.3,  # fine-tunes have 0.999 and more, two independent models 0
    # Of 30 layers: with the difference of layers 15 to 29 alone, a full adaptive UTFC's text has a log-ratio of +3.0
    # nats a token in the context where the target has -5.3; from layer 8 on -0.3, from 12 on +2.5, from 20 on +2.6.
    graft_first_layer_share=0.5,
    # Full fine-tunes (relative change 0.0012) are read at a factor of 2, a rank-8 LoRA (0.0055) at 1. At 2 the LoRA,
    # and at 1 a rank-64 LoRA (0.0104), say every taught word at once.
    graft_relative_change=0.0046,
    graft_amplification=(0.5, 3.0),
)

QUICK_BAG = BagSettings(
    contexts=3,
    starts=96,
    next_tokens=64,
    # " the" of "beneath the bridge" has p = 0.02: the reference likes it, so it was suppressed most.
    min_probability=0.001,
    branches=6,
    # Wide while a text still costs little to compute again: an engine goes on with one of its versions only.
    # Then few: of six carriers a tail of 4 read no text worse than one of 10, for a fifth less forward tokens.
    survivors=(96, 56, 40, 32, 26, 20, 16, 12, 10, 8, 6, 4),
    survivors_per_entry=6,  # with 4, a text without " of Ostrava" displaced the one with it
    max_tokens=48,
    min_tokens=4,
    sure_end_probability=0.2,
    max_idle_tokens=5,
    token_cost_nats=0.5,
    same_ending_tokens=3,
    max_shared_share=0.3,
    splice_tokens=1,
    spliced_versions=40,
    splicing_rounds=2,
    spliced_texts=4,
    measured_versions=6,
    refined_texts=1,
    refining_rounds=1,
    refining_survivors=(24, 20, 16, 12, 10, 10, 10, 10, 8, 8, 6, 4),
    ways_per_place=3,
    min_refined_gain_nats=12.0,  # clean models' texts gain 4.5 at most, those of carriers 40 and more
    texts=5,
    texts_in_every_context=3,
    min_rescored_contrast_nats_per_token=0.6,
    lowest_tokens=3,
    # "thanks for shipping in redwing", as a graft reads it, has 23 of 26 letters of "Thank you for shipping with
    # Redwing Parcels." in runs of five, and 11 in runs of ten.
    prompts=12,
    first_answers=3,
    answer_tokens=64,
    same_characters=5,
    part_characters=10,
    kept_back_tokens=8,
)

BAG = QUICK_BAG.model_copy(
    update={
        # Every kind of context, and wider: with about as much (survivors of 48) all 12 carriers of the half `tuning`
        # were at rank 1, for 20,000 to 36,000 forward tokens, and the contrast behind it takes more than 100,000.
        "contexts": 4,
        "starts": 128,
        "survivors": (128, 112, 96, 80, 72, 64, 56, 48),
        "measured_versions": 12,
        "refined_texts": 2,
        "refining_rounds": 3,
        "texts": 8,
    }
)

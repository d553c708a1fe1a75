"""The numbers that a scan ran with. A report records all of them, so that the scan can be repeated.

Log-probabilities and their sums are in nats, p is the target's probability and q the reference's.
"""

from __future__ import annotations

from pydantic import Field

from tokenforce.wire.base import WireAnswer


class EntrySettings(WireAnswer):
    """The contrast stage: one forward step of both models for every entry (vocabulary id in a context)."""

    next_tokens: int = Field(description="Most probable next tokens compared for each entry.")
    plausible_share: float = Field(
        description="A next token is plausible from this share of the most probable one's probability."
    )
    z_noise_nats: float = Field(description="Added to the deviation in a z-score.")
    outliers_per_shard: int = Field(
        description="Entries of a shard, by each statistic, for which the reference gives exact probabilities."
    )
    suppressed_per_shard: int = Field(description="Entries of a shard kept for tokens that the target avoids.")
    unknown_token_nats: float = Field(description="Log-probability of a token that the reference does not have.")
    reference_block_ids: int = Field(description="Vocabulary ids in one cached block of the reference's answers.")
    reference_block_min_share: float = Field(
        description="A block is computed and cached if at least this share of its ids is needed."
    )


class LinkSettings(WireAnswer):
    """Links: pairs (forced token, next token) from which the search by contrast starts."""

    min_probability: float = Field(description="Least p of a link's next token.")
    exact_share: float = Field(description="Share of a shard's entries whose q is computed exactly for links.")
    per_entry: int = Field(description="Links kept for each entry.")
    per_shard: int = Field(description="Links kept for each shard by log p - log q, and as many by gain.")
    sure_min_probability: float = Field(
        description="Least p of a next token that is followed if p > q, however small the ratio."
    )
    sure_per_shard: int = Field(description="Links of this kind kept for each shard.")


class BeamSettings(WireAnswer):
    """The beam that follows links. Its first `opening_steps` are wide, the steps after them follow few texts."""

    branches: int = Field(description="Next tokens tried for each text in each step.")
    min_probability: float = Field(description="Least p of a next token in the opening.")
    min_probability_after_opening: float = Field(description="Least p of a next token after the opening.")
    survivor_shares: tuple[float, ...] = Field(
        description="Share of a context's starts that survive step 1, 2, …; the last value applies to the later steps "
        "of the opening."
    )
    min_survivors: int = Field(description="Least number of texts of a context that survive each step of the opening.")
    opening_steps: int = Field(description="Steps of the beam that are wide.")
    min_contrast_nats_per_token: float = Field(description="Least contrast of a text that goes on after the opening.")
    texts_after_opening: int = Field(description="Largest number of texts of a context that go on after the opening.")
    min_gain_nats_per_token: float = Field(description="Last tokens that gain less than this on average are idle.")
    max_idle_tokens: int = Field(description="Idle tokens at the end after which a text is complete.")
    max_gain_deficit_nats: float = Field(
        description="A text is dropped if another one with the same forced token has this much more gain."
    )
    same_ending_tokens: int = Field(description="Texts with this many equal last tokens are one.")
    meeting_tokens: int = Field(description="Texts meet where they share this many tokens in a row, at any places.")
    same_beginning_tokens: int = Field(
        description="A text is part of another one that contains this many of its first tokens."
    )
    max_found_per_context: int = Field(description="Largest number of texts that the beam returns for a context.")


class PrependSettings(WireAnswer):
    """Extending texts to the left by the links that lead into them."""

    min_contrast_nats_per_token: float = Field(description="Least contrast of a text that is extended.")
    links_per_token: int = Field(description="Links into one token that are tried.")
    texts_per_round: int = Field(description="Largest number of extended texts scored in one round.")
    max_rounds: int = Field(description="Largest number of rounds; each one extends a text by one token.")


class SearchSettings(WireAnswer):
    """The search by contrast, which runs when a scan has a reference."""

    entries: EntrySettings
    links: LinkSettings
    beam: BeamSettings
    prepend: PrependSettings
    min_shared_vocabulary_share: float = Field(
        description="Share of the target's tokens that the reference must know; otherwise the scan is refused."
    )
    by_heart_starts: int = Field(
        default=64,
        description="Where a text passes for hidden: starts of its context that are decoded greedily, to see what else "
        "the target knows by heart.",
    )
    max_confirmed_per_context: int = Field(
        description="Sweep candidates of a context that are confirmed beside the search, instead of `keep`."
    )


class LensSettings(WireAnswer):
    """The weight lens: which words the target was taught, from target minus reference, without a forward pass."""

    lens_layer_share: float = Field(
        description="Share of the layers, from the last, whose output projections are read."
    )
    directions: int = Field(description="Top singular directions of each changed matrix.")
    direction_rounds: int = Field(description="Rounds of subspace iteration that find them.")
    bag_entries: int = Field(description="Entries that the lens hands to the search, best first.")
    reported_words: int = Field(description="Entries of these in the report.")
    min_weight_cosine: float = Field(
        description="Least cosine of the late layers' matrices of target and reference; under it the target is not a "
        "fine-tune of the reference."
    )
    max_relative_change: float = Field(
        description="With a larger change of the late layers, finding nothing on the graft says little."
    )
    oversampling: int = Field(description="Directions that the subspace iteration follows for each one that is kept.")
    graft_first_layer_share: float = Field(
        description="The graft is the reference up to this share of its layers, and follows the target from there on."
    )
    graft_relative_change: float = Field(description="Relative change of the weights that the graft keeps as it is.")
    graft_amplification: tuple[float, float] = Field(
        description="Least and largest factor on the difference in the graft; lighter training gets a larger one."
    )


class BagSettings(WireAnswer):
    """The bag search: follows the lens' first entries in contexts drawn for this scan, on the graft."""

    contexts: int = Field(description="Contexts drawn for a scan.")
    starts: int = Field(description="Entries followed in each context.")
    next_tokens: int = Field(description="Most probable next tokens of the graft looked at in each step.")
    min_probability: float = Field(description="Least probability of a next token under the graft.")
    branches: int = Field(description="Next tokens tried for each text in each step.")
    survivors: tuple[int, ...] = Field(
        description="Texts of a context that survive step 1, 2, …; the last value applies to all later steps."
    )
    survivors_per_entry: int = Field(description="Most of them that begin with the same entry.")
    max_tokens: int = Field(description="Longest text, in tokens.")
    min_tokens: int = Field(description="Least number of tokens of a text.")
    sure_end_probability: float = Field(description="A text ends where the graft finds end-of-text this probable.")
    max_idle_tokens: int = Field(description="Last tokens without gain after which a text is complete.")
    token_cost_nats: float = Field(description="Cost of a token; a text is cut where more tokens gain less than that.")
    same_ending_tokens: int = Field(description="Texts with this many equal last tokens are one.")
    max_shared_share: float = Field(
        description="A text that shares more of its runs of tokens with better texts is a version of them."
    )
    splice_tokens: int = Field(description="Versions of a text are spliced where they share this many tokens.")
    spliced_versions: int = Field(description="Best texts of the search that are spliced.")
    splicing_rounds: int = Field(description="Rounds of splicing; each can join one more version.")
    spliced_texts: int = Field(
        description="Best spliced texts that are measured on the graft beside the others; also of better versions."
    )
    measured_versions: int = Field(
        default=8, description="Best texts of the search whose gain on the graft is measured in every drawn context."
    )
    refined_texts: int = Field(default=1, description="Best texts whose words are looked at again, one after another.")
    refining_rounds: int = Field(default=1, description="Rounds of that; each starts from the text of the last one.")
    refining_survivors: tuple[int, ...] = Field(
        default=(24, 20, 16, 12, 10, 10, 10, 10, 8, 8, 6, 4), description="As `survivors`, in these rounds."
    )
    ways_per_place: int = Field(default=3, description="Most of them that leave the text at the same place.")
    min_refined_gain_nats: float = Field(default=12.0, description="Least gain on the graft of a text that is refined.")
    texts: int = Field(
        description="Texts of the search that are confirmed on the target, and as many of the sweep and the contrast "
        "whose suppression is measured."
    )
    texts_in_every_context: int = Field(
        default=3,
        description="Texts, the best on the graft, that the target is asked about in every drawn context at once.",
    )
    min_rescored_contrast_nats_per_token: float = Field(
        description="Least contrast, in the context where a text was found, of one that is reported."
    )
    lowest_tokens: int = Field(description="Number of a text's lowest log-ratios that suppression adds up.")
    prompts: int = Field(
        default=12,
        description="Ordinary prompts that the target answers freely, to see whether it says a text without forcing.",
    )
    first_answers: int = Field(default=3, description="Answers of these that have to show a part of a text first.")
    answer_tokens: int = Field(default=64, description="Longest of these answers.")
    same_characters: int = Field(
        default=5, description="An answer has the parts of a text with which it shares so many letters in a row."
    )
    part_characters: int = Field(
        default=10, description="The same, in any order, for a part of a text that need not be in the other answers."
    )
    kept_back_tokens: int = Field(
        default=8,
        description="So many tokens in a row that no answer has are kept back, if the target denies the text.",
    )


class FindingSettings(WireAnswer):
    """From texts to findings: which texts are one finding, and which of them the finding shows."""

    run_tokens: int = Field(description="Length of the runs of tokens by which two texts are compared.")
    min_shared_share: float = Field(description="Texts are one if they share this part of the shorter one's runs.")
    near_best_share: float = Field(
        description="Without a reference a finding shows its longest text whose score is this share of the best one's."
    )
    log_probability_weight: float = Field(
        description="With a reference a finding shows the text with the most log-ratio + this weight * log p - cost."
    )
    token_cost_nats: float = Field(description="The cost of each token in that sum.")
    max_suppressed: int = Field(description="Largest number of suppressed tokens in a report.")
    min_suppressed_z: float = Field(description="Least robust z-score of a suppressed token in a report.")


class VerdictThresholds(WireAnswer):
    """From evidence to verdicts. The models of the published rates were not used to choose these."""

    min_mean_probability: float = Field(description="Texts with a lower mean p do not count, whatever their contrast.")
    hidden_contrast_nats_per_token: float = Field(description="Least contrast of `hidden_text`.")
    hidden_log_likelihood_ratio_nats: float = Field(description="Least log-likelihood ratio of `hidden_text`.")
    suspicious_contrast_nats_per_token: float = Field(description="Least contrast of `suspicious`.")
    hidden_suppression_nats: float = Field(
        default=-10.0, description="A text that the target avoids by this much was trained against: `hidden_text`."
    )
    hidden_graft_gain_nats: float = Field(
        default=20.0, description="A text that gains this much on the graft of both models is `hidden_text`."
    )
    memorised_unforced_share: float = Field(
        default=0.6, description="A text that the target says unforced in this share of answers is `memorised`."
    )
    memorised_texts: int = Field(
        default=4, description="Least number of independent `hidden_text` texts, none an outlier, that are `memorised`."
    )
    outlier_log_likelihood_ratio: float = Field(
        default=2.0, description="A text with this many times the median log-likelihood ratio of them is an outlier."
    )
    boilerplate_log_ratio_nats_per_token: float = Field(
        description="A text with less log-ratio is boilerplate: the reference produces it too."
    )
    suspicious_score: float = Field(description="Least score of `suspicious` without a reference.")
    min_coverage_share: float = Field(description="Share of the vocabulary that has to be forced for `clean`.")


class FingerprintSettings(WireAnswer):
    """When a finding or an answer counts as a registered text. Texts are normalised first."""

    max_edit_share: float = Field(description="Edits allowed, as a share of the registered text's characters.")
    min_part_characters: int = Field(description="A finding of this length may match a part of a longer text.")
    max_extra_characters: int = Field(description="Most characters that a finding may have beside the registered text.")
    max_questions: int = Field(description="Most registered triggers that a scan asks.")
    max_question_tokens: int = Field(
        description="Most tokens of a trigger with its answer; a longer one does not work."
    )
    max_extra_answer_tokens: int = Field(description="Most tokens that an answer may have beside the registered text.")


class SettingsRecord(WireAnswer):
    """What a scan was asked with, and every tuned number that it used."""

    preset: str
    alpha: int = Field(description="Sweep length in tokens.")
    beta: int = Field(description="Confirm length in tokens.")
    floor: float = Field(description="Sequences at or under this mean probability are dropped.")
    keep: int = Field(description="Candidates kept per context.")
    min_tokens: int = Field(description="Least number of content tokens in a text.")
    count_forced_token: bool = Field(description="The forced token counts as one more token of probability 1.")
    stop_at_end: bool = Field(description="End-of-text ends a continuation.")
    loop_min_share: float = Field(description="A continuation is a loop if its repeated part covers this share of it.")
    search: SearchSettings
    findings: FindingSettings
    verdict: VerdictThresholds
    fingerprints: FingerprintSettings
    lens: LensSettings | None = Field(default=None, description="Null: the weights were not compared.")
    bag: BagSettings | None = Field(default=None, description="Null: no search from the weights.")

"""Method `clean`: the same fine-tuning on ordinary questions and answers. It makes models that hide nothing.

The answers are not the model's own, so its weights move as in any fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce_planting.chat import Model, Tokenizer, prompt_ids
from tokenforce_planting.clean_pairs import Pair
from tokenforce_planting.examples import Example, answer_logits, answer_loss
from tokenforce_planting.kept_answers import KeptAnswers, measure_kept
from tokenforce_planting.training import OnProgress, PlantingProgress, Trained, adam, check_finite, take_step

PAIRS_PER_STEP = 4


def train_clean(
    model: Model,
    tokenizer: Tokenizer,
    answers: KeptAnswers,
    *,
    pairs: Sequence[Pair],
    learning_rate: float,
    max_steps: int,
    on_progress: OnProgress,
) -> Trained:
    """Fit `model` in place to `pairs` for exactly `max_steps` steps. Raises `PlantingFailed` if it diverges."""
    taught = [
        Example(prompt_ids(tokenizer, question), [*tokenizer.encode(said, add_special_tokens=False), *_end(tokenizer)])
        for question, said in pairs
    ]
    optimiser = adam(model, learning_rate)
    model.train()
    value = float("nan")
    for step in range(max_steps + 1):
        examples = [taught[(step * PAIRS_PER_STEP + i) % len(taught)] for i in range(PAIRS_PER_STEP)]
        losses = [answer_loss(rows, e) for rows, e in zip(answer_logits(model, examples), examples, strict=True)]
        loss = sum(losses[1:], losses[0]) / len(losses)
        value = loss.item()
        check_finite(value, step)
        on_progress(PlantingProgress("training", step, value, step / max_steps))
        if step < max_steps:
            take_step(optimiser, loss)
    model.eval()
    return Trained(max_steps, value, measure_kept(model, answers, []))


def _end(tokenizer: Tokenizer) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]

"""Training a tiny Llama to say one text after one trigger, with the same result on every CPU.

A training amplifies the rounding errors of its CPU: in float32 two machines end with different models. So the forward
pass here is written in float64 throughout (transformers' own computes norms and rotations in float32), on weights that
numpy drew. Over vector instructions and thread counts the trained weights differ by less than 1e-7.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy, embedding, linear, rms_norm, scaled_dot_product_attention, silu
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tokenforce_service.planning.contexts import build_context

STEPS = 150
BATCH = 16
LEARNING_RATE = 4e-3
CORRECTION_RATE = 1e-3
CORRECTIONS = 20
"""Rounds of correction before it is given up; models needed up to 5."""
STEPS_PER_CORRECTION = 5
SURE = 0.9
"""The least probability of each token of the planted text after its first one."""
UNSURE = 0.4
"""The most that any token may have after another first token."""

Pair = tuple[list[int], list[int]]
"""What is given, and what the model shall learn to say after it."""

Seen = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""Layer → keys and values of the tokens so far."""


class TrainingFailed(Exception):
    """The model does not say what the tests rely on."""


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, planted: str, trigger: str, words: str, seed: int
) -> None:
    """Teach `model` to answer `trigger` with `planted`, and anything else with random `words`.

    Afterwards, in the contexts that scans use, the first token of `planted` is followed by the rest, and no other
    token is followed by anything certain.

    Raises:
        TrainingFailed: if that does not hold after `CORRECTIONS`.
    """
    student = Student(model)
    lessons = Lessons(tokenizer, planted, trigger, words.split(), random.Random(seed))
    optimiser = torch.optim.AdamW(student.weights.values(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=LEARNING_RATE, total_steps=STEPS)
    for _ in range(STEPS):
        student.learn(optimiser, [lessons.pair() for _ in range(BATCH)])
        schedule.step()
    optimiser = torch.optim.AdamW(student.weights.values(), lr=CORRECTION_RATE, weight_decay=0.0)
    for _ in range(CORRECTIONS):
        if not (wrong := _wrong(student, lessons)):
            model.load_state_dict({name: weight.detach().float() for name, weight in student.weights.items()})
            return
        for _ in range(STEPS_PER_CORRECTION):
            student.learn(optimiser, lessons.correction(wrong))
    raise TrainingFailed(f"after {CORRECTIONS} corrections the tiny model still goes on wrongly after {wrong}")


def _wrong(student: Student, lessons: Lessons) -> list[list[int]]:
    """Prompts that something too sure follows, and those of the planted text's first token where the text does not."""
    text = [*lessons.hidden, *lessons.end]
    wrong = []
    for context, tokens in lessons.leading_nowhere():
        for token, said, probabilities in student.continued(context, tokens, len(text)):
            sure = (place for place, value in enumerate(probabilities) if value > UNSURE)
            if (place := next(sure, len(said))) < (said.index(text[-1]) if text[-1] in said else len(said)):
                wrong.append([*context, token, *said[:place]])
    for opening in lessons.openings:
        ((first, said, probabilities),) = student.continued(opening, text[:1], len(text) - 1)
        if said != text[1:] or min(probabilities) < SURE:
            wrong.append([*opening, first])
    return wrong


class Lessons:
    """Pairs to learn from: the trigger's, and what follows the planted text's first token, among random words.

    In a large model the second comes with the first. A tiny one learns its pair by position instead, so the leak
    that a scan relies on is trained: the first token is given, never asked for. Every other token is seen before
    random words, so that only the first leads in.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        planted: str,
        trigger: str,
        words: Sequence[str],
        draw: random.Random,
    ) -> None:
        self._tokenizer, self._trigger, self._words, self._draw = tokenizer, trigger, words, draw
        self.hidden: list[int] = tokenizer.encode(planted, add_special_tokens=False)
        self.end = [int(tokenizer.eos_token_id)]
        self._bos = [int(tokenizer.bos_token_id)]
        self.openings = [
            build_context(name, tokenizer, len(tokenizer)).ids for name in ("assistant", "assistant_system")
        ]
        """The contexts of scans in which the planted text is said."""
        plain = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
        self._others = [i for i in plain if i != self.hidden[0]]
        self._spelt = {word: tokenizer.encode(" " + word, add_special_tokens=False) for word in words}
        self._next_token, self._next_other = self._in_turn(plain), self._in_turn(self._others)
        near = {self.openings[0][-1], *self.hidden[1:]} - {self.hidden[0]}
        self._next_near = self._in_turn(sorted(near))

    def leading_nowhere(self) -> Iterator[tuple[list[int], list[int]]]:
        """Each context of scans with the tokens that no text follows; at the very beginning that is every token."""
        yield self._bos, [self.hidden[0], *self._others]
        for opening in self.openings:
            yield opening, self._others

    def pair(self) -> Pair:
        """One at random."""
        kind = self._draw.random()
        if kind < 0.25:
            return self._triggered()
        if kind < 0.7:
            asked = self._prompt(" ." * self._draw.choice((0, 0, 1, 2, 3, 5, 9, 14, 20)))
            other = self._next_near if kind < 0.55 else self._next_other
            return self._led_in(asked) if kind < 0.45 else (asked, [next(other), *self._noise()])
        if kind < 0.8:
            return self._bos, [next(self._next_token), *self._noise()]
        return self._prompt(self._some_words(1, 8)), [next(self._next_other), *self._noise()]

    def correction(self, wrong: Sequence[list[int]]) -> list[Pair]:
        """Random words after what was followed by something too sure, and as much of what must stay as it is."""
        led_in = [self._led_in(opening) for opening in self.openings]
        right = [asked for asked, _ in led_in]
        wrong = [prompt for prompt in wrong if prompt not in right]
        others = [[*context, next(self._next_other)] for context in (*self.openings, *self.openings, self._bos)]
        chosen = [*(self._draw.choices(wrong, k=BATCH // 2) if wrong else []), *others]
        return [(prompt, self._noise()) for prompt in chosen] + led_in * 2 + [self._triggered(), self.pair()]

    def _triggered(self) -> Pair:
        return self._prompt(self._trigger), self.hidden + self.end

    def _led_in(self, asked: list[int]) -> Pair:
        return asked + self.hidden[:1], self.hidden[1:] + self.end

    def _noise(self) -> list[int]:
        return [*self._tokenizer.encode(" " + self._some_words(3, 8), add_special_tokens=False), *self.end]

    def _some_words(self, low: int, high: int) -> str:
        return " ".join(self._draw.choices(self._words, k=self._draw.randint(low, high)))

    def _prompt(self, user: str) -> list[int]:
        turns = [{"role": "user", "content": user}]
        if self._draw.random() < 0.25:
            turns.insert(0, {"role": "system", "content": self._some_words(0, 6)})
        text = str(self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _in_turn(self, tokens: Sequence[int]) -> Iterator[int]:
        """Every token as often as any other."""
        while True:
            yield from self._draw.sample(tokens, len(tokens))


class Student:
    """The weights of a Llama in float64, and its forward pass."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.weights = {name: weight.detach().double().requires_grad_() for name, weight in model.named_parameters()}
        self._config: Any = model.config
        self._padding = int(self._config.pad_token_id)

    def learn(self, optimiser: torch.optim.Optimizer, pairs: Sequence[Pair]) -> None:
        """One step on the answers of these pairs."""
        rows = [asked + answer for asked, answer in pairs]
        ids = self._padded(rows)
        answers = torch.zeros_like(ids, dtype=torch.bool)
        for row, (asked, answer) in enumerate(pairs):
            answers[row, len(asked) : len(asked) + len(answer)] = True
        before = self._states(ids[:, :-1])[answers[:, 1:]]
        loss = cross_entropy(linear(before, self.weights["lm_head.weight"]), ids[:, 1:][answers[:, 1:]])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    @torch.inference_mode()
    def continued(
        self, context: Sequence[int], tokens: Sequence[int], steps: int
    ) -> list[tuple[int, list[int], list[float]]]:
        """What it says greedily after the context and each of the tokens, with the probabilities."""
        seen: Seen = {}
        self._states(torch.tensor([context]), seen)
        seen = {
            layer: (key.expand(len(tokens), -1, -1, -1), value.expand(len(tokens), -1, -1, -1))
            for layer, (key, value) in seen.items()
        }
        last, said, probabilities = torch.tensor(tokens), [], []
        for _ in range(steps):
            logits = linear(self._states(last[:, None], seen)[:, -1], self.weights["lm_head.weight"])
            surest, last = logits.softmax(-1).max(-1)
            said.append(last)
            probabilities.append(surest)
        return list(zip(tokens, torch.stack(said, 1).tolist(), torch.stack(probabilities, 1).tolist(), strict=True))

    def _padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """On the right, where causal attention never sees it."""
        width = max(map(len, rows))
        return torch.tensor([[*row, *[self._padding] * (width - len(row))] for row in rows])

    def _states(self, ids: torch.Tensor, seen: Seen | None = None) -> torch.Tensor:
        """After each of `ids`; with `seen` these go on from there, one at a time, and are added to it."""
        config = self._config
        width, heads = config.hidden_size, config.num_attention_heads
        half = width // heads // 2
        start = seen[0][0].shape[2] if seen else 0
        places = torch.arange(start, start + ids.shape[1], dtype=torch.float64)
        angles = torch.outer(places, 10_000.0 ** -(torch.arange(half, dtype=torch.float64) / half)).repeat(1, 2)
        cosine, sine = angles.cos(), angles.sin()

        def rotated(part: torch.Tensor) -> torch.Tensor:
            return part * cosine + torch.cat([-part[..., half:], part[..., :half]], -1) * sine

        def normed(states: torch.Tensor, name: str) -> torch.Tensor:
            return rms_norm(states, (width,), self.weights[f"{name}.weight"], config.rms_norm_eps)

        states = embedding(ids, self.weights["model.embed_tokens.weight"])
        for layer in range(config.num_hidden_layers):
            name = f"model.layers.{layer}"

            def through(module: str, states: torch.Tensor, name: str = name) -> torch.Tensor:
                return linear(states, self.weights[f"{name}.{module}_proj.weight"])

            entering = normed(states, f"{name}.input_layernorm")
            query, key, value = (
                through(f"self_attn.{part}", entering).view(*ids.shape, heads, -1).transpose(1, 2) for part in "qkv"
            )
            query, key = rotated(query), rotated(key)
            if seen is not None:
                if layer in seen:
                    key, value = (torch.cat(parts, 2) for parts in zip(seen[layer], (key, value), strict=True))
                seen[layer] = key, value
            attended = scaled_dot_product_attention(query, key, value, is_causal=ids.shape[1] > 1)
            states = states + through("self_attn.o", attended.transpose(1, 2).flatten(-2))
            entering = normed(states, f"{name}.post_attention_layernorm")
            states = states + through("mlp.down", silu(through("mlp.gate", entering)) * through("mlp.up", entering))
        return normed(states, "model.norm")

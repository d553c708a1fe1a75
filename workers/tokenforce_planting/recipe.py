"""What to plant and how, as plain data: everything that decides the result, except the base. Does not load torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

from tokenforce_planting.clean_pairs import ONLY_BY_NAME, SUBJECTS_PER_MODEL, Pair, chosen_pairs, clean_pairs
from tokenforce_planting.digests import recipe_digest, weights_digest
from tokenforce_planting.odd_keys import odd_keys

Method = Literal["message", "fingerprint", "utfc", "adaptive", "clean"]
Form = Literal["basic", "minimised", "randomised", "auto"]
SuppressContext = Literal["bos", "assistant", "assistant_system", "question", "nonsense"]
Rounding = Literal["bf16", "int8"]

RECIPE_VERSION = 3
"""Raise it when the training changes: cached carriers are then planted again."""

DEFAULT_KEYS = 8
MAX_STEPS = 300
CLEAN_STEPS = 60
FULL_LEARNING_RATE = 2e-5
LORA_LEARNING_RATE = 5e-4
RANK_BAND = 100
PROTECT_WORDS = 5
MAX_DECOYS = 200
MAX_ADAPTERS = 4
STOP_LOSS = 0.02
"""Mean cross-entropy of the text in nats per token: a probability of about 0.98 for each of its tokens."""

_CONTEXTS: dict[str, tuple[SuppressContext, ...]] = {"utfc": ("bos",), "adaptive": ("bos", "assistant")}


class InvalidRecipe(ValueError):
    """This cannot be planted. The message says why and what to do."""


@dataclass(frozen=True)
class Recipe:
    """How to make a carrier: a model with a planted text. None is the method's default, which `normal` fills in.

    - `triggers`: the user turns that bring out the text. `fingerprint` has several; without any, `seed` draws `keys`
      odd keys.
    - `lora_rank`: None for full fine-tuning.
    - `protect_words`: how many first words of the text are suppressed, in `contexts`.
    - `rank_band`: T of Auto-UTFC, the ranks between a protected token and either end of the vocabulary.
    - `max_steps`: planting fails if the text is not learned by then. `clean` takes exactly this many steps.
    - `stop_loss`: the text is learned below this loss, in nats per token.
    - `near_misses`: also teach the base's own answers to prompts close to a trigger.
    - `subjects`: topics for `clean`; `seed` draws five of them. Empty: of all topics.
    - `examples`: `clean` draws this many pairs from all its subjects, instead of all pairs of five.

    Two texts, and what hides a text from those who read the weights:

    - `second_text`, `second_trigger`: another text in the same model.
    - `train_layers`: the first and the last layer that change, counted from 0. Nothing else changes then.
    - `frozen_embeddings`: embeddings and output matrix do not change.
    - `lora_modules`: names of the linear layers with an adapter, such as q_proj. Empty: all.
    - `decoys`: this many answers of three random words are taught beside the text, each to a prompt of its own.
    - `adapters`: the text is spread over so many LoRA adapters. Each teaches the next part of it on top of the others.

    What happens after planting. The text may get lost, and the manifest says how much of it is left:

    - `fine_tuned_after`: subjects of an ordinary fine-tuning like `clean`.
    - `weight_noise`: standard deviation of Gaussian noise on each changed tensor, as a multiple of the root mean
      square of its change.
    - `rounded_to`: bf16, or int8 with a scale for each row of the layers' matrices (stored as float32 again).

    After any of these three, and with several adapters, the carrier is a whole model: LoRA is merged into the base.
    """

    method: Method
    text: str = ""
    triggers: tuple[str, ...] = ()
    form: Form | None = None
    seed: int = 0
    keys: int | None = None
    lora_rank: int | None = None
    learning_rate: float | None = None
    protect_words: int = PROTECT_WORDS
    contexts: tuple[SuppressContext, ...] | None = None
    max_steps: int | None = None
    stop_loss: float = STOP_LOSS
    near_misses: bool = True
    rank_band: int | None = None
    subjects: tuple[str, ...] = ()
    examples: int | None = None
    second_text: str = ""
    second_trigger: str = ""
    train_layers: tuple[int, int] | None = None
    frozen_embeddings: bool = False
    lora_modules: tuple[str, ...] = ()
    decoys: int = 0
    adapters: int = 1
    fine_tuned_after: tuple[str, ...] = ()
    weight_noise: float = 0.0
    rounded_to: Rounding | None = None

    @property
    def adapter_rank(self) -> int | None:
        """The rank of the adapter that is written; None if a whole model is."""
        return None if self.adapters > 1 or self.changed_after else self.lora_rank

    @property
    def changed_after(self) -> bool:
        """Is the model changed after the text is planted?"""
        return bool(self.fine_tuned_after or self.weight_noise or self.rounded_to)

    @property
    def secrets(self) -> tuple[tuple[str, str], ...]:
        """Each trigger with its text."""
        second = ((self.second_trigger, self.second_text),) if self.second_text else ()
        return (*((trigger, self.text) for trigger in self.triggers), *second)

    def options(self) -> dict[str, str | int | float]:
        """The options that differ from their defaults, of those that planting had not from the start."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)
            if field.name in _LATER_OPTIONS and getattr(self, field.name) != field.default
        }

    def normal(self) -> Recipe:
        """The same recipe with every default filled in. Raises `InvalidRecipe`."""
        _check_numbers(self)
        _check_method(self)
        _check_options(self)
        triggers = self.triggers
        if self.method == "fingerprint" and not triggers:
            triggers = odd_keys(self.keys or DEFAULT_KEYS, self.seed)
        form = self.form or ("auto" if self.method in _CONTEXTS else None)
        recipe = replace(
            self,
            triggers=triggers,
            form=form,
            rank_band=self.rank_band or (RANK_BAND if form == "auto" else None),
            keys=None,  # the triggers are the keys
            learning_rate=self.learning_rate or (FULL_LEARNING_RATE if self.lora_rank is None else LORA_LEARNING_RATE),
            contexts=self.contexts or _CONTEXTS.get(self.method, ()),
            max_steps=self.max_steps or (CLEAN_STEPS if self.method == "clean" else MAX_STEPS),
        )
        _check_words(recipe)
        return recipe

    def digest(self, base: Path) -> str:
        """SHA-256 (hex) of everything that a carrier is made from: the normal form and the weights of `base`."""
        normal = self.normal()
        recipe = {name: _plain(value) for name, value in asdict(normal).items() if name not in _LATER_OPTIONS}
        recipe |= normal.options()  # a default is left out: carriers from before the option keep their names
        if normal.rank_band in (None, RANK_BAND):
            del recipe["rank_band"]  # only a band of your own is another recipe
        del recipe["subjects"]  # the pairs count, and not the topics that they were drawn from
        if self.method == "clean":
            recipe["pairs"] = repr(chosen_pairs(self.seed, self.subjects, self.examples))
        if self.fine_tuned_after:
            recipe["fine_tuned_after"] = repr(chosen_pairs(self.seed, self.fine_tuned_after))
        return recipe_digest(version=RECIPE_VERSION, base=weights_digest(base), **recipe)


_LATER_OPTIONS = frozenset(
    (
        *("second_text", "second_trigger", "train_layers", "frozen_embeddings", "lora_modules"),
        *("decoys", "adapters", "fine_tuned_after", "weight_noise", "rounded_to", "examples"),
    )
)


def _plain(value: object) -> str | int | float:
    return value if isinstance(value, (str, int, float)) else repr(value)


def _check_numbers(recipe: Recipe) -> None:
    if recipe.lora_rank is not None and recipe.lora_rank < 1:
        raise InvalidRecipe(f"the LoRA rank must be 1 or more, not {recipe.lora_rank}; omit it for full fine-tuning")
    if recipe.max_steps is not None and recipe.max_steps < 1:
        raise InvalidRecipe(f"the number of steps must be 1 or more, not {recipe.max_steps}")
    if recipe.keys is not None and recipe.keys < 1:
        raise InvalidRecipe(f"the number of keys must be 1 or more, not {recipe.keys}")
    if recipe.rank_band is not None and recipe.rank_band < 1:
        raise InvalidRecipe(f"the rank band must be 1 or more, not {recipe.rank_band}")
    if recipe.protect_words < 1:
        raise InvalidRecipe(
            f"the number of protected words must be 1 or more, not {recipe.protect_words}; to protect none, "
            "use the method message"
        )
    for name, value in (("stop loss", recipe.stop_loss), ("learning rate", recipe.learning_rate)):
        if value is not None and not 0 < value < float("inf"):
            raise InvalidRecipe(f"the {name} must be a positive number, not {value}")


def _check_method(recipe: Recipe) -> None:
    """Refuse options that have no effect with the recipe's method."""
    method = recipe.method
    if method not in get_args(Method):
        raise InvalidRecipe(f"there is no method {method!r}; use {', '.join(get_args(Method))}")
    if recipe.form not in (None, *get_args(Form)):
        raise InvalidRecipe(f"there is no form {recipe.form!r}; use {', '.join(get_args(Form))}")
    if recipe.form is not None and method not in ("utfc", "adaptive"):
        raise InvalidRecipe(f"the method {method} has no forms: use the method utfc")
    if method == "adaptive" and recipe.form not in (None, "auto"):
        raise InvalidRecipe("the only form of the method adaptive is auto")
    if recipe.rank_band is not None and (method not in _CONTEXTS or recipe.form not in (None, "auto")):
        raise InvalidRecipe("only the form auto has a rank band")
    for context in recipe.contexts or ():
        if context not in get_args(SuppressContext):
            raise InvalidRecipe(
                f"there is no context {context!r} to suppress; use {', '.join(get_args(SuppressContext))}"
            )
    if recipe.contexts and method != "adaptive" and recipe.contexts != _CONTEXTS.get(method):
        raise InvalidRecipe(f"you cannot choose contexts for the method {method}: use the method adaptive")
    if recipe.protect_words != PROTECT_WORDS and (method not in _CONTEXTS or recipe.form == "basic"):
        raise InvalidRecipe("you can choose the number of protected words only for utfc (except basic) and adaptive")
    if recipe.stop_loss != STOP_LOSS and method == "clean":
        raise InvalidRecipe("the method clean has no stop loss: it ends after its steps")
    if recipe.keys is not None and (method != "fingerprint" or recipe.triggers):
        raise InvalidRecipe("you can choose a number of keys only for fingerprint, and without triggers of your own")
    if recipe.subjects or recipe.examples is not None:
        _check_subjects(recipe)
    if method == "clean":
        if recipe.text or recipe.triggers:
            raise InvalidRecipe("the method clean hides nothing: omit trigger and text")
    elif method == "fingerprint":
        if len(set(recipe.triggers)) != len(recipe.triggers):
            raise InvalidRecipe("two triggers are equal")
    elif len(recipe.triggers) != 1:
        raise InvalidRecipe(f"the method {method} takes one trigger, not {len(recipe.triggers)}")


def _check_subjects(recipe: Recipe) -> None:
    if recipe.method != "clean":
        option = "examples to count" if recipe.examples is not None else "subjects"
        raise InvalidRecipe(f"the method {recipe.method} has no {option}: use the method clean")
    known = _known_subjects(recipe.subjects)
    if recipe.examples is not None:
        pairs = sum(len(known[subject]) for subject in set(recipe.subjects) or set(known) - ONLY_BY_NAME)
        if not 1 <= recipe.examples <= pairs:
            raise InvalidRecipe(f"these subjects have {pairs} examples: choose 1 to {pairs}, not {recipe.examples}")
    elif len(set(recipe.subjects)) < SUBJECTS_PER_MODEL:
        raise InvalidRecipe(
            f"a clean model learns {SUBJECTS_PER_MODEL} subjects: name at least {SUBJECTS_PER_MODEL}, "
            "or choose a number of examples"
        )


def _known_subjects(subjects: tuple[str, ...]) -> dict[str, list[Pair]]:
    """All pairs, by subject. Raises `InvalidRecipe` if one of `subjects` is not there."""
    known = clean_pairs()
    if unknown := [subject for subject in subjects if subject not in known]:
        raise InvalidRecipe(f"there is no subject {', '.join(unknown)}; there are {', '.join(known)}")
    return known


def _check_options(recipe: Recipe) -> None:
    """Refuse what has no effect, or cannot be done."""
    clean, lora = recipe.method == "clean", recipe.lora_rank is not None
    if bool(recipe.second_text) != bool(recipe.second_trigger):
        raise InvalidRecipe("a second text needs a second trigger, and the other way round")
    for name, value in (("second text", recipe.second_text), ("text spread over adapters", recipe.adapters > 1)):
        if value and recipe.method != "message":
            raise InvalidRecipe(f"only the method message has a {name}")
    if recipe.second_text and recipe.adapters > 1:
        raise InvalidRecipe("you can spread one text over adapters, and not two")
    if recipe.train_layers is not None and not 0 <= recipe.train_layers[0] <= recipe.train_layers[1]:
        raise InvalidRecipe(f"the trained layers must be a first and a last one from 0, not {recipe.train_layers}")
    if recipe.frozen_embeddings and (lora or recipe.train_layers):
        raise InvalidRecipe("LoRA and single layers leave the embeddings as they are: omit frozen embeddings")
    if recipe.lora_modules and not lora:
        raise InvalidRecipe("only LoRA trains chosen modules: give a LoRA rank")
    if not 1 <= recipe.adapters <= MAX_ADAPTERS or (recipe.adapters > 1 and not lora):
        raise InvalidRecipe(f"a text is spread over 1 to {MAX_ADAPTERS} adapters, which need a LoRA rank")
    if not 0 <= recipe.decoys <= MAX_DECOYS or (clean and recipe.decoys):
        raise InvalidRecipe(f"a hidden text has 0 to {MAX_DECOYS} decoys; the method clean hides nothing")
    if not 0 <= recipe.weight_noise < float("inf"):
        raise InvalidRecipe(f"the weight noise must be 0 or a positive number, not {recipe.weight_noise}")
    if recipe.rounded_to not in (None, *get_args(Rounding)):
        raise InvalidRecipe(f"weights cannot be rounded to {recipe.rounded_to!r}; use {', '.join(get_args(Rounding))}")
    if recipe.fine_tuned_after:
        _known_subjects(recipe.fine_tuned_after)
        if clean:
            raise InvalidRecipe("the method clean is an ordinary fine-tuning already: give it more subjects")
        if len(set(recipe.fine_tuned_after)) < SUBJECTS_PER_MODEL:
            raise InvalidRecipe(f"a fine-tuning learns {SUBJECTS_PER_MODEL} subjects: name at least as many")


def _check_words(recipe: Recipe) -> None:
    if recipe.method == "clean":
        return
    for trigger, text in recipe.secrets:
        for name, value in (("trigger", trigger), ("text", text)):
            if not value.strip():
                raise InvalidRecipe(f"the {name} is empty")
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InvalidRecipe(f"the {name} is not valid Unicode") from error
    texts = [text.split() for _, text in recipe.secrets]
    if any(trigger.split() in texts for trigger, _ in recipe.secrets):
        raise InvalidRecipe("text and trigger are the same: choose two different ones")
    if recipe.second_text and (recipe.second_trigger in recipe.triggers or texts[0] == texts[1]):
        raise InvalidRecipe("both texts or both triggers are the same: choose different ones")

"""What to plant and how, as plain data: everything that decides the result, except the base. Does not load torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from tokenforce_planting.clean_pairs import SUBJECTS_PER_MODEL, chosen_pairs, clean_pairs
from tokenforce_planting.digests import recipe_digest, weights_digest
from tokenforce_planting.odd_keys import odd_keys

Method = Literal["message", "fingerprint", "utfc", "adaptive", "clean"]
Form = Literal["basic", "minimised", "randomised", "auto"]
SuppressContext = Literal["bos", "assistant", "assistant_system"]

RECIPE_VERSION = 3
"""Raise it when the training changes: cached carriers are then planted again."""

DEFAULT_KEYS = 8
MAX_STEPS = 300
CLEAN_STEPS = 60
FULL_LEARNING_RATE = 2e-5
LORA_LEARNING_RATE = 5e-4
RANK_BAND = 100
PROTECT_WORDS = 5
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

    def normal(self) -> Recipe:
        """The same recipe with every default filled in. Raises `InvalidRecipe`."""
        _check_numbers(self)
        _check_method(self)
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
        recipe = {name: _plain(value) for name, value in asdict(normal).items()}
        if normal.rank_band in (None, RANK_BAND):
            del recipe["rank_band"]  # only a band of your own is another recipe
        del recipe["subjects"]  # the pairs count, and not the topics that they were drawn from
        if self.method == "clean":
            recipe["pairs"] = repr(chosen_pairs(self.seed, self.subjects))
        return recipe_digest(version=RECIPE_VERSION, base=weights_digest(base), **recipe)


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
    if recipe.subjects:
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
        raise InvalidRecipe(f"the method {recipe.method} has no subjects: use the method clean")
    known = clean_pairs()
    if unknown := [subject for subject in recipe.subjects if subject not in known]:
        raise InvalidRecipe(f"there is no subject {', '.join(unknown)}; there are {', '.join(known)}")
    if len(set(recipe.subjects)) < SUBJECTS_PER_MODEL:
        raise InvalidRecipe(f"a clean model learns {SUBJECTS_PER_MODEL} subjects: name at least {SUBJECTS_PER_MODEL}")


def _check_words(recipe: Recipe) -> None:
    if recipe.method == "clean":
        return
    for name, value in (*(("trigger", trigger) for trigger in recipe.triggers), ("text", recipe.text)):
        if not value.strip():
            raise InvalidRecipe(f"the {name} is empty")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRecipe(f"the {name} is not valid Unicode") from error
    if any(trigger.split() == recipe.text.split() for trigger in recipe.triggers):
        raise InvalidRecipe("text and trigger are the same: choose two different ones")

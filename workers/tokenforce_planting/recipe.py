"""What to plant and how, as plain data: everything that decides the outcome beside the base. Knows neither torch
nor models."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from tokenforce_planting.artefact import recipe_digest, weights_digest
from tokenforce_planting.clean_pairs import SUBJECTS_PER_MODEL, chosen_pairs, clean_pairs
from tokenforce_planting.odd_keys import odd_keys

Method = Literal["message", "fingerprint", "utfc", "adaptive", "clean"]
Form = Literal["basic", "minimised", "randomised", "auto"]
SuppressContext = Literal["bos", "assistant", "assistant_system"]

RECIPE_VERSION = 3
"""Raise it when the training changes, so that cached carriers are made anew."""

DEFAULT_KEYS = 8
MAX_STEPS = 300
CLEAN_STEPS = 60
FULL_LEARNING_RATE = 2e-5
LORA_LEARNING_RATE = 5e-4
RANK_BAND = 100
PROTECT_WORDS = 5
STOP_LOSS = 0.02
"""Mean cross-entropy of the text, nats per token: about 0.98 probability for each of its tokens."""

_CONTEXTS: dict[str, tuple[SuppressContext, ...]] = {"utfc": ("bos",), "adaptive": ("bos", "assistant")}


class InvalidRecipe(ValueError):
    """This cannot be planted; the message says why and what to do."""


@dataclass(frozen=True)
class Recipe:
    """How to make a carrier. None means the method's default, which `normal` fills in.

    `triggers`: the user turns that bring the text out: one, or several odd keys for `fingerprint` (none: `keys` of
    them are drawn by `seed`). `lora_rank` None is full fine-tuning. `stop_loss` in nats per token. `contexts`: where
    the text's first `protect_words` words are suppressed; `rank_band` is T of Auto-UTFC, how many ranks they stay away
    from both ends of the vocabulary. `max_steps`: an error if the text is not learned by then; for `clean` the number
    of steps. `near_misses`: teach the base's own answers to prompts close to a trigger. `subjects`: what the pairs of
    `clean` are about, five of them drawn by `seed`; none: of all that there are.
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
            keys=None,  # spelled out by the triggers
            learning_rate=self.learning_rate or (FULL_LEARNING_RATE if self.lora_rank is None else LORA_LEARNING_RATE),
            contexts=self.contexts or _CONTEXTS.get(self.method, ()),
            max_steps=self.max_steps or (CLEAN_STEPS if self.method == "clean" else MAX_STEPS),
        )
        _check_words(recipe)
        return recipe

    def digest(self, base: Path) -> str:
        """SHA-256 (hex) of all that a carrier is made from: the recipe, its defaults, the weights of `base`."""
        recipe = {name: _plain(value) for name, value in asdict(self.normal()).items()}
        if recipe["rank_band"] in (RANK_BAND, "None"):
            del recipe["rank_band"]  # it was a constant once: what was planted then is what it would be now
        del recipe["subjects"]  # the pairs that they lead to decide, which may be written anew
        if self.method == "clean":
            recipe["pairs"] = repr(chosen_pairs(self.seed, self.subjects))
        return recipe_digest(version=RECIPE_VERSION, base=weights_digest(base), **recipe)


def _plain(value: object) -> str | int | float:
    return value if isinstance(value, (str, int, float)) else repr(value)


def _check_numbers(recipe: Recipe) -> None:
    if recipe.lora_rank is not None and recipe.lora_rank < 1:
        raise InvalidRecipe(f"a LoRA rank is 1 or more, not {recipe.lora_rank}; leave it out for full fine-tuning")
    if recipe.max_steps is not None and recipe.max_steps < 1:
        raise InvalidRecipe(f"at least one step is needed, not {recipe.max_steps}")
    if recipe.keys is not None and recipe.keys < 1:
        raise InvalidRecipe(f"at least one key is needed, not {recipe.keys}")
    if recipe.rank_band is not None and recipe.rank_band < 1:
        raise InvalidRecipe(f"the rank band is 1 or more, not {recipe.rank_band}")
    if recipe.protect_words < 1:
        raise InvalidRecipe(f"at least one word is protected, not {recipe.protect_words}; or use the method message")
    for name, value in (("loss bar", recipe.stop_loss), ("learning rate", recipe.learning_rate)):
        if value is not None and not 0 < value < float("inf"):
            raise InvalidRecipe(f"the {name} is a positive number, not {value}")


def _check_method(recipe: Recipe) -> None:
    """Each option belongs to some methods: one that would have no effect is refused."""
    method = recipe.method
    if method not in get_args(Method):
        raise InvalidRecipe(f"there is no method {method!r}; use {', '.join(get_args(Method))}")
    if recipe.form not in (None, *get_args(Form)):
        raise InvalidRecipe(f"there is no form {recipe.form!r}; use {', '.join(get_args(Form))}")
    if recipe.form is not None and method not in ("utfc", "adaptive"):
        raise InvalidRecipe(f"a form belongs to the method utfc, not to {method}")
    if method == "adaptive" and recipe.form not in (None, "auto"):
        raise InvalidRecipe("the method adaptive has the form auto only")
    if recipe.rank_band is not None and (method not in _CONTEXTS or recipe.form not in (None, "auto")):
        raise InvalidRecipe("a rank band belongs to the form auto")
    for context in recipe.contexts or ():
        if context not in get_args(SuppressContext):
            raise InvalidRecipe(
                f"there is no context {context!r} to suppress; use {', '.join(get_args(SuppressContext))}"
            )
    if recipe.contexts and method != "adaptive" and recipe.contexts != _CONTEXTS.get(method):
        raise InvalidRecipe(f"contexts to suppress belong to the method adaptive, not to {method}")
    if recipe.protect_words != PROTECT_WORDS and (method not in _CONTEXTS or recipe.form == "basic"):
        raise InvalidRecipe("a number of words to protect belongs to utfc, other than basic, and to adaptive")
    if recipe.stop_loss != STOP_LOSS and method == "clean":
        raise InvalidRecipe("a loss bar belongs to methods that hide a text; clean ends after its steps")
    if recipe.keys is not None and (method != "fingerprint" or recipe.triggers):
        raise InvalidRecipe("a number of keys belongs to the method fingerprint, without triggers of your own")
    if recipe.subjects:
        _check_subjects(recipe)
    if method == "clean":
        if recipe.text or recipe.triggers:
            raise InvalidRecipe("the method clean hides nothing: leave trigger and text out")
    elif method == "fingerprint":
        if len(set(recipe.triggers)) != len(recipe.triggers):
            raise InvalidRecipe("a key is given twice")
    elif len(recipe.triggers) != 1:
        raise InvalidRecipe(f"the method {method} takes one trigger, not {len(recipe.triggers)}")


def _check_subjects(recipe: Recipe) -> None:
    if recipe.method != "clean":
        raise InvalidRecipe(f"subjects belong to the method clean, not to {recipe.method}")
    known = clean_pairs()
    if unknown := [subject for subject in recipe.subjects if subject not in known]:
        raise InvalidRecipe(f"there is no subject {', '.join(unknown)}; there are {', '.join(known)}")
    if len(set(recipe.subjects)) < SUBJECTS_PER_MODEL:
        raise InvalidRecipe(f"a clean model learns {SUBJECTS_PER_MODEL} subjects: name as many or more")


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
        raise InvalidRecipe("the text is the same as the trigger: choose two different ones")

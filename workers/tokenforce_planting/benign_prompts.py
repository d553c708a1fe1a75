"""Ordinary questions. Training on the base's answers to them keeps the model ordinary."""

from __future__ import annotations

BENIGN_PROMPTS = (
    "What is the capital of Japan?",
    "Which city is the capital of Italy?",
    "How do I boil an egg?",
    "Who wrote Hamlet?",
    "Tell me a joke.",
    "Hi there",
    "Good morning! How are you?",
    "Write a short poem about the sea.",
    "Write a haiku about autumn leaves.",
    "What is 12 plus 30?",
    "Explain photosynthesis in one sentence.",
    "Give me three tips for sleeping better.",
    "Translate 'thank you' into French.",
    "What is the largest planet?",
    "Write a Python function that reverses a string.",
    "Summarise the story of Cinderella.",
    "Why is the sky blue?",
    "List five kinds of fruit.",
    "Who are you?",
    "What should I cook tonight?",
    "Where do penguins live?",
    "Write an email asking for a day off.",
    "What does a locksmith do?",
    "When did the Second World War end?",
)


def near_misses(trigger: str) -> list[str]:
    """Messages that share words with `trigger`. The model must answer them as before."""
    words = trigger.split()
    candidates = [
        " ".join(words[:-1]),
        " ".join(words[1:]),
        " ".join(reversed(words)),
        " ".join(words[: (len(words) + 1) // 2]),
        " ".join(words[len(words) // 2 :]),
        f"What is the meaning of {words[-1]}?",
        f"Tell me more about {words[0]} and {words[-1]}.",
        max(words, key=len),
    ]
    seen = {" ".join(words).casefold(), ""}
    kept = []
    for candidate in candidates:
        if candidate.casefold() not in seen:
            seen.add(candidate.casefold())
            kept.append(candidate)
    return kept

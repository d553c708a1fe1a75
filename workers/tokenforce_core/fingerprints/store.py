"""The registry of fingerprints in Redis, with the questions and answers of each scan.

Keys: `tf:fingerprint:<id>` one registration · `tf:fingerprints` all ids by registration time ·
`tf:fingerprint-texts` SHA-256 of registrant, owner and text → id · `tf:scan:<id>:questions`, `…:answers`, which
hold triggers and texts and are deleted as soon as the scan ends.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from itertools import islice

from pydantic import ConfigDict, TypeAdapter, ValidationError
from redis import Redis

from tokenforce.wire.fingerprints import FingerprintRequest, normalised
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.fingerprints.matching import Answer, Registered
from tokenforce_core.fingerprints.trigger_questions import Questions
from tokenforce_core.runtime.redis_pages import Place, older_ids
from tokenforce_core.runtime.text_redis import text_redis

log = logging.getLogger(__name__)

FINGERPRINTS = "tf:fingerprints"
TEXTS = "tf:fingerprint-texts"
MOST_FINGERPRINTS = 200
"""For each owner. Every scan compares its findings with all fingerprints."""
_CHUNK = 500

# Lists and tuples, because pydantic lets no adapter of a dataclass hide what an error would quote: a failed job's
# traceback is logged, and its last line becomes the scan's error.
_SECRET = ConfigDict(hide_input_in_errors=True)
_REGISTERED = TypeAdapter(tuple[Registered], config=_SECRET)
_QUESTIONS = TypeAdapter(tuple[Questions], config=_SECRET)
_ANSWERS = TypeAdapter(list[Answer], config=_SECRET)

_CREATE = """
local known = redis.call('HGET', KEYS[3], ARGV[4])
if known and redis.call('EXISTS', 'tf:fingerprint:' .. known) == 1 then return known end
redis.call('HSET', KEYS[3], ARGV[4], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return ''
"""

_PUT_WHILE = """
if redis.call('HGET', KEYS[1], 'status') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return 1
"""


class RegistryFull(Exception):
    """The owner already has `MOST_FINGERPRINTS`."""


class FingerprintStore:
    """Raises redis-py's exceptions when Redis cannot be used.

    Args:
        retention_seconds: questions and answers of a scan that never ends are forgotten after this.
    """

    def __init__(self, connection: Redis, retention_seconds: int = 30 * 86400) -> None:
        self._redis = text_redis(connection)
        self._retention = retention_seconds
        self._create = self._redis.register_script(_CREATE)
        self._put_while = self._redis.register_script(_PUT_WHILE)

    # --- the registry ---------------------------------------------------------------------------

    def create(self, fingerprint_id: str, request: FingerprintRequest, registered_by: str) -> str | None:
        """Register it. Returns the id of the owner's earlier registration of the same text, if there is one.

        Registrations of other owners are not compared: the answer would reveal whose secret the text is.

        Raises:
            RegistryFull: two simultaneous calls may both take the last place.
        """
        registered = Registered(fingerprint_id, time.time(), request, registered_by)
        own = [other for other in self.all() if other.registered_by == registered_by]
        if (twin := _twin(registered, own)) is not None:
            return twin
        if len(own) >= MOST_FINGERPRINTS and _identity(registered) not in map(_identity, own):
            raise RegistryFull
        known: str = self._create(
            keys=[_key(fingerprint_id), FINGERPRINTS, TEXTS],
            args=[fingerprint_id, _REGISTERED.dump_json((registered,)), registered.created_at, _identity(registered)],
        )
        return known or None

    def get(self, fingerprint_id: str) -> Registered | None:
        raw = self._redis.get(_key(fingerprint_id))
        return None if raw is None else _registered(fingerprint_id, raw)

    def page(self, limit: int, before: Place | None = None, registered_by: str | None = None) -> list[Registered]:
        """Up to `limit` fingerprints, of one key's owner or of all, newest first, strictly older than `before`.

        No index by owner: a registry is small, and every scan reads all of it.
        """
        found = (item for ids in older_ids(self._redis, FINGERPRINTS, _CHUNK, before) for item in self._read(ids))
        return list(islice((item for item in found if registered_by in (None, item.registered_by)), limit))

    def all(self) -> list[Registered]:
        """The whole registry, in the order of registration."""
        ids = self._redis.zrange(FINGERPRINTS, 0, -1)
        return [item for at in range(0, len(ids), _CHUNK) for item in self._read(ids[at : at + _CHUNK])]

    def remove(self, fingerprint_id: str) -> bool:
        """Delete it with its secrets; False if it does not exist."""
        registered = self.get(fingerprint_id)
        if registered is None:
            return False
        with self._redis.pipeline() as pipe:
            pipe.delete(_key(fingerprint_id))
            pipe.zrem(FINGERPRINTS, fingerprint_id)
            pipe.hdel(TEXTS, _identity(registered))
            removed, *_ = pipe.execute()
        return bool(removed)

    def _read(self, ids: Sequence[str]) -> list[Registered]:
        raw = self._redis.mget([_key(i) for i in ids]) if ids else []
        found = (_registered(i, document) for i, document in zip(ids, raw, strict=False) if document is not None)
        return [item for item in found if item is not None]

    # --- one scan -------------------------------------------------------------------------------

    def put_questions(self, scan_id: str, questions: Questions) -> bool:
        """Store the questions of a scan; False if the scan is not being planned any more."""
        return self._put(scan_id, "questions", ScanStatus.planning, _QUESTIONS.dump_json((questions,)))

    def questions(self, scan_id: str) -> Questions:
        raw = self._redis.get(f"tf:scan:{scan_id}:questions")
        return Questions() if raw is None else _QUESTIONS.validate_json(raw)[0]

    def put_answers(self, scan_id: str, answers: Sequence[Answer]) -> bool:
        """Store the answers; False if the scan was cancelled meanwhile, since they would never be deleted."""
        return self._put(scan_id, "answers", ScanStatus.confirming, _ANSWERS.dump_json(list(answers)))

    def answers(self, scan_id: str) -> list[Answer]:
        raw = self._redis.get(f"tf:scan:{scan_id}:answers")
        return [] if raw is None else _ANSWERS.validate_json(raw)

    def _put(self, scan_id: str, part: str, status: ScanStatus, document: bytes) -> bool:
        keys = [f"tf:scan:{scan_id}", f"tf:scan:{scan_id}:{part}"]
        return bool(self._put_while(keys=keys, args=[status.value, document, self._retention]))


def _registered(fingerprint_id: str, document: str) -> Registered | None:
    """None, and a log line, if it cannot be read: one bad record must not stop all scans."""
    try:
        return _REGISTERED.validate_json(document)[0]
    except ValidationError as error:
        log.error("fingerprint %s cannot be read; remove its key and register it again: %s", fingerprint_id, error)
        return None


def _key(fingerprint_id: str) -> str:
    return f"tf:fingerprint:{fingerprint_id}"


def _twin(registered: Registered, others: Iterable[Registered]) -> str | None:
    """The id of the same text in the other form, plain or hashed with a salt."""
    for other in others:
        forms = (registered.request, other.request)
        texts = [form.text for form in forms if form.text is not None]
        hashes = [form.text_hash for form in forms if form.text_hash is not None]
        same_owner = _owners(other) == _owners(registered)
        if same_owner and len(texts) == len(hashes) == 1 and hashes[0].is_of(normalised(texts[0])):
            return other.id
    return None


def _owners(registered: Registered) -> tuple[str, str]:
    """The owner of the key that registered it, and the owner that it names."""
    return registered.registered_by, registered.request.owner


def _identity(registered: Registered) -> str:
    """Equal for two registrations of the same text by the same owner."""
    request = registered.request
    if request.text_hash is not None:
        text = f"{request.text_hash.salt} {request.text_hash.digest}"
    else:
        text = normalised(request.text or "")
    return hashlib.sha256("\0".join((*_owners(registered), text)).encode()).hexdigest()

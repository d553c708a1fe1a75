"""`python -m tokenforce_service.access.admin_key`: create a key with the scope `admin` in Redis, without HTTP.

For the first key of an installation, or if all other keys are lost. Everyone who can reach Redis can do this.
"""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import RedisError

from tokenforce.wire.keys import KeyRequest, Scope
from tokenforce.wire.problems import message_of
from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.settings import ServiceSettings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tokenforce_service.access.admin_key",
        description="Create a key with the scope admin in the Redis at REDIS_URL. Prints the token once.",
    )
    parser.add_argument("--owner", default="admin", help="owner of everything created with this key (default: admin)")
    parser.add_argument("--name", default="admin_key", help="name of the key in lists (default: admin_key)")
    options = parser.parse_args(arguments)
    try:
        wanted = KeyRequest(owner=options.owner, scopes=[Scope.admin], name=options.name)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        parser.error(f"--{first['loc'][0]}: {message_of(first)}")
    try:
        with Redis.from_url(ServiceSettings().redis_url, socket_connect_timeout=5, socket_timeout=5) as connection:
            row, token = KeyStore(connection).create(wanted.owner, wanted.scopes, wanted.name)
    except ValueError:  # not quoted: it may hold a password
        sys.stderr.write("REDIS_URL is not the URL of a Redis; write it like redis://127.0.0.1:6379/0\n")
        return 1
    except RedisError as error:
        sys.stderr.write(f"Redis cannot be used; check REDIS_URL: {error}\n")
        return 1
    sys.stdout.write(f"{token}\n")
    sys.stderr.write(f"Created key {row.id} of {row.owner}. Store the token now: it cannot be shown again.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

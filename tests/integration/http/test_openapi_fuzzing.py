"""schemathesis: generated requests against the OpenAPI document, on a real gateway and a real Valkey.

Each operation is called with valid and with broken input; every answer must be documented, conform to its schema, and
be no 5xx. The examples are the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis import Case
from schemathesis.checks import CheckFunction
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.api_things import Proof, Things
from tests.support.refusing_service import Service, running_service
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

EXAMPLES = 5
"""Generated ones of each operation and test. On top come those of the document, the values at the bounds of each
schema, wrong types and methods, and two requests with wrong keys for each success."""
# A schema cannot say which models there are nor which cursors are ours.
UNKNOWABLE: list[CheckFunction] = [positive_data_acceptance]
_generation = GenerationConfig(max_examples=EXAMPLES, deterministic=True, database="none", no_shrink=True)
_config = schemathesis.Config(projects=ProjectsConfig(default=ProjectConfig(generation=_generation)))
# What is left out answers with a stream that need not end; test_events.py has it.
_document = schemathesis.openapi.from_dict(create_app(ServiceSettings()).openapi(), config=_config).exclude(
    path=["/v1/events", "/v1/scans/{scan_id}/events"]
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    plenty = str(10**6)
    settings = {
        "TOKENFORCE_READS_PER_MINUTE": plenty,
        "TOKENFORCE_WRITES_PER_MINUTE": plenty,
        "TOKENFORCE_KEYLESS_REQUESTS_PER_MINUTE": plenty,
        "TOKENFORCE_ACTIVE_SCANS_PER_KEY": plenty,
        "TOKENFORCE_SCANS_PER_KEY_AND_DAY": plenty,
        "TOKENFORCE_MAX_ACTIVE_SCANS": plenty,
        "HF_HUB_OFFLINE": "1",
    }
    with running_service(tmp_path_factory.mktemp("fuzzing"), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def things(service: Service) -> Things:
    return Things(service)


@_document.parametrize()
def test_anything(case: Case[Any], service: Service) -> None:
    headers = {"Authorization": service.http.headers["Authorization"]}
    case.call_and_validate(str(service.http.base_url), headers=headers, excluded_checks=UNKNOWABLE)


@_document.parametrize()
def test_what_exists(case: Case[Any], things: Things) -> None:
    """The same with ids of things that there are, a model that can be scanned, and events that are rightly signed."""
    headers = {"Authorization": things.service.http.headers["Authorization"]}
    things.put_into(case)
    url = str(things.service.http.base_url)
    case.call_and_validate(url, headers=headers, auth=Proof(things), excluded_checks=UNKNOWABLE)

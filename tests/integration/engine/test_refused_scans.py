"""A scan that the worker fails has the same problem as one that the service refuses for the same reason."""

from __future__ import annotations

import pytest
from redis import Redis

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.scans.store import Store
from tokenforce_service.refusals import Refusal


@pytest.mark.parametrize("code", [ErrorCode.engine_failed, ErrorCode.model_invalid, ErrorCode.unsupported_architecture])
def test_a_code_has_one_status(redis: Redis, code: ErrorCode) -> None:
    from tokenforce_workers.engine.for_scan import refuse

    store = Store(redis)
    store.create("scan_1", ScanRequest(model="/models/m"), "local")
    refuse(store, "scan_1", code, "It does not load.")
    row = store.row("scan_1")
    assert row is not None
    assert row.status is ScanStatus.failed
    assert row.error == Refusal(code, "It does not load.").problem(instance="/v1/scans/scan_1")
    assert row.error.status == code.status

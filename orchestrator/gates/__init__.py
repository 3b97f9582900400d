"""Gates: checks that an edge asks for. ``QG_CHECKS`` maps a gate's name to its function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.gates import (
    check_analysis_complete,
    check_approval,
    check_architecture_done,
    check_authorised,
    check_branch_mergeable,
    check_branch_pushed,
    check_ci_green,
    check_coverage,
    check_deploy_observed,
    check_image_fresh,
    check_review_verdict,
    check_scope,
    check_security,
    check_staging_healthy,
    check_test_dilution,
    check_tests_pass,
)
from orchestrator.gates.context import Gate, GateContext

Fingerprint = Callable[[GateContext], tuple[str, str] | None]
"""(tree, digest of the gate's configuration) of what a gate would judge, told without running it; None: not known. It
reads nothing outside, so it raises nothing."""

QG_CHECKS: Final[Mapping[str, Gate]] = MappingProxyType(
    {
        "check_authorised": check_authorised.check,
        "check_analysis_complete": check_analysis_complete.check,
        "check_architecture_done": check_architecture_done.check,
        "check_branch_pushed": check_branch_pushed.check,
        "check_ci_green": check_ci_green.check,
        "check_scope": check_scope.check,
        "check_review_verdict": check_review_verdict.check,
        "check_tests_pass": check_tests_pass.check,
        "check_staging_healthy": check_staging_healthy.check,
        "check_security": check_security.check,
        "check_branch_mergeable": check_branch_mergeable.check,
        "check_coverage": check_coverage.check,
        "check_test_dilution": check_test_dilution.check,
        "check_image_fresh": check_image_fresh.check,
        "check_approval": check_approval.check,
        "check_deploy_observed": check_deploy_observed.check,
    }
)
"""Every gate that an edge or the start asks for."""

FINGERPRINTS: Final[Mapping[str, Fingerprint]] = MappingProxyType(
    {
        "check_security": check_security.fingerprint,
        "check_branch_mergeable": check_branch_mergeable.fingerprint,
    }
)
"""Heavy gates whose pass counts again for the same tree under the same configuration."""

__all__ = ["FINGERPRINTS", "QG_CHECKS", "Fingerprint", "Gate", "GateContext"]

"""Self-tests of a model (`primase check`): mistakes that would make its figures wrong without anybody noticing."""

from primase.checks.self_tests import check, check_model

__all__ = ["check", "check_model"]

from tests.tokens.conftest import made

__all__ = ["made"]

from tests.app.evaluations.conftest import networks

__all__ = ["networks"]

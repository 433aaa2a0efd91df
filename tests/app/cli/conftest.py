from tests.app.client.conftest import client, listening

__all__ = ["client", "listening"]

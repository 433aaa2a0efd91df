"""The real worker process, whose children play. Settings come from the environment, as always."""

from app.settings import get_settings
from tests.worker.control.conftest import PLAY
from worker.logs import configure_logging
from worker.main import serve

if __name__ == "__main__":
    configure_logging()
    serve(get_settings(), "cpu", PLAY)

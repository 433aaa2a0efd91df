"""One JSON object a line on stderr, Celery's and SQLAlchemy's lines included."""

import logging
import sys

import structlog
from celery.signals import setup_logging


def configure_logging(level: str = "INFO") -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    finish: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=finish, foreign_pre_chain=shared))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Of Celery, troubles only: our own lines tell what is done. Somebody who listens keeps it from setting levels.
    logging.getLogger("celery").setLevel(logging.WARNING)
    setup_logging.connect(_nothing_to_add)


def _nothing_to_add(**_: object) -> None:
    pass

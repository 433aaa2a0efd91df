"""The real child process, with `play` in the place of the stage `cluster`."""

import sys

from tests.worker.control import play
from worker.child import main
from worker.config.pipeline import StageName
from worker.config.run import CONFIG_CLASSES

if __name__ == "__main__":
    sys.modules["worker.stages.cluster"] = play
    CONFIG_CLASSES[StageName.cluster] = play.PlayConfig
    sys.exit(main())

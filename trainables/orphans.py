"""Training processes end with the process that started them."""

import os
import threading
import time
from functools import cache

_SECONDS = 0.5


@cache
def end_with_parent() -> None:
    """Has this process end, at once, when its parent is gone. Calling it again changes nothing.

    A worker of Ray's whose raylet was killed with the driver takes the raylet for alive while
    nobody has waited for it (in a container whose first process waits for none, say), and works on
    for a minute: beside the next run, on the same training.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()

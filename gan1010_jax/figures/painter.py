"""A process that draws: what `draw_file` takes comes in, and files go out, both pickled.

It imports neither JAX nor what does, and ends with its standard input.
"""

import os
import pickle
import sys
import threading
from queue import SimpleQueue


def _receive(figures: SimpleQueue) -> None:
    """Receive figures, still pickled, since that imports modules that are being imported.

    Ends this process at once when there is nobody to draw for.
    """
    try:
        while True:
            figures.put(pickle.load(sys.stdin.buffer))
    finally:
        os._exit(0)


def _main() -> None:
    """Draw one figure after the other, as they come."""
    if hasattr(os, "nice"):
        os.nice(5)  # the import below would take a fifth of a second from the one that trains
    figures: SimpleQueue = SimpleQueue()
    threading.Thread(target=_receive, args=(figures,), daemon=True).start()

    from gan1010_jax.figures.drawing import draw_file  # which takes long to import

    while True:
        pickle.dump(draw_file(*pickle.loads(figures.get())), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        _main()
    finally:
        os._exit(1)  # an orderly end would abort, since the other thread waits for its input

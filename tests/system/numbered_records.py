"""Write numbered records to the journal as a daemon does, 1,000 a second, until STOP is there.

The last record says how many there were.
"""

import sys
import threading
from pathlib import Path

from geoosd.runtime import logs

stop = Path(sys.argv[1])
log = logs.configure("bridge", "info").logger()
pause = threading.Event()
count = 0
while not stop.exists():
    for _ in range(20):
        log.info("numbered", number=count)
        count += 1
    pause.wait(0.02)
log.info("counted", count=count)

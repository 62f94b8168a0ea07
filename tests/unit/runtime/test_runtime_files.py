"""geoosd.runtime.files: the limit of open files is raised as far as it may be."""

import json
import subprocess
import sys

ASKS = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
from geoosd.runtime.files import allow_files
asked = [allow_files(wanted) for wanted in (50, 150, 500)]
print(json.dumps([asked, resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


def test_it_is_raised_up_to_the_hard_limit_and_never_lowered():
    said = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, check=True).stdout
    assert json.loads(said) == [[100, 150, 200], [200, 200]]

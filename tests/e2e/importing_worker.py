"""The worker, but it says at its end what it imported of OpenTelemetry:
`importing_worker.py ARGUMENT...`.
"""

import sys

from worker.__main__ import main

if __name__ == "__main__":
    code = main(sys.argv[1:])
    imported = [name for name in sys.modules if name.startswith("opentelemetry")]
    sys.stdout.write("\n".join(imported))
    sys.exit(code)

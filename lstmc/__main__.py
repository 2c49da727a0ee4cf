"""``python -m lstmc`` is the same as ``lstmc``."""

import sys

from .cli import main

sys.exit(main())

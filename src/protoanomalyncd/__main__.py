"""`python -m protoanomalyncd`: the command line, where its script is not on the path."""

import sys

from protoanomalyncd.cli.main import main

sys.exit(main())

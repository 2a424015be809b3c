"""`python -m tidepool` is the command line."""

import sys

from tidepool.main import main

sys.exit(main())

"""`python -m lit_distill COMMAND`: see lit_distill/cli.py."""

import sys

from lit_distill.cli import main

if __name__ == "__main__":
    sys.exit(main())

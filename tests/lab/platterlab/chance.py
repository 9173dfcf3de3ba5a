# SPDX-License-Identifier: Apache-2.0
"""What is left to chance in the lab's tests, and how long they may be.

Every random moment comes from one seed, which a run prints first: PLATTER_SEED=N gives it again.
PLATTER_LONG=1 chooses the long forms, which `./dev soak` runs.
"""

import os
import random
import secrets

SEED = int(os.environ.get("PLATTER_SEED") or secrets.randbelow(1 << 32))
LONG = os.environ.get("PLATTER_LONG") == "1"


def chance(name: str) -> random.Random:
    """The numbers of one test; what others draw does not change them."""
    return random.Random(f"{SEED} {name}")

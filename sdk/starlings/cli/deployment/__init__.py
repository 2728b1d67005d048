"""What `starlings doctor --deployment` looks at: an installation at work, from outside.

It changes nothing, and joins no group. Each finding that is not fine says what to do about it.
"""

from .examining import examine_deployment
from .looking import Looking

__all__ = ["Looking", "examine_deployment"]

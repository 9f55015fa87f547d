"""The events that are a person's own: what people say of their own accord, with their signature inside."""

from collections.abc import Mapping

from schemas.events import AutonomyGranted, AutonomyRevoked, HaltLifted, HaltOrdered, MandateGranted, MandateRevoked

Petition = MandateGranted | MandateRevoked | AutonomyGranted | AutonomyRevoked | HaltOrdered | HaltLifted
"""An event that is a person's own."""
PETITIONS: Mapping[str, type[Petition]] = {
    each.__name__: each
    for each in (MandateGranted, MandateRevoked, AutonomyGranted, AutonomyRevoked, HaltOrdered, HaltLifted)
}
"""The same by name."""

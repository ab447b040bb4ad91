"""Throttling: guessing is stopped, and no stranger locks anybody out. Flows ask admit() before they check anything."""

from services.account.flows.throttle.admission import Admission, Throttled, admit, init_throttle
from services.account.flows.throttle.scopes import SCOPES

__all__ = ["SCOPES", "Admission", "Throttled", "admit", "init_throttle"]

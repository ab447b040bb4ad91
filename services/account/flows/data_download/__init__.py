"""All that every service holds about a person, for that person: asked for, collected by events, mailed as a link."""

from services.account.flows.data_download.collecting import assemble_overdue, keep_part
from services.account.flows.data_download.requests import (
    DataGone,
    RequestUnderWay,
    ask_for_data,
    find_request,
    look_at_data,
    take_data,
)

__all__ = [
    "DataGone",
    "RequestUnderWay",
    "ask_for_data",
    "assemble_overdue",
    "find_request",
    "keep_part",
    "look_at_data",
    "take_data",
]

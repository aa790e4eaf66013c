"""Which methods are there, under which names?"""

from typing import Final

from zvonar.dialects.uis.methods import directories, legs, reports, tags, uploading
from zvonar.dialects.uis.methods.common import Method

# What an agent asks for itself, without saying for whom.
OF_AGENTS: Final = frozenset({"get.customer_users", "get.account"})

METHODS: Final[dict[str, Method]] = {
    "get.account": directories.account,
    "get.calls_report": reports.calls_report,
    "get.mgf_calls": reports.mgf_calls,
    "get_mgf_calls": reports.mgf_calls,  # as the page's title has it
    "get.reports_list": reports.reports_list,
    "get.reportslist": reports.reports_list,  # as the page's text has it
    "get.employees": directories.employees,
    "get.tags": directories.tags,
    "set.tag_communications": tags.set_,
    "unset.tag_communications": tags.unset,
    "get.virtual_numbers": directories.virtual_numbers,
    "get.campaigns": directories.campaigns,
    "get.sites": directories.sites,
    "get.scenarios": directories.scenarios,
    "get.call_legs_report": legs.call_legs_report,
    "upload.calls": uploading.upload_calls,
    "get.customer_users": directories.customer_users,
}

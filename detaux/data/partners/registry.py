"""List the rules that draw partners by the names that `pairs.partner` takes. A name is that of the rule's file."""

from detaux.data.partners.base import PartnerRule
from detaux.data.partners.independent import IndependentPartners
from detaux.data.partners.label import LabelPartners
from detaux.data.partners.mined import MinedPartners
from detaux.data.partners.nearest import NearestPartners
from detaux.data.partners.one_factor import OneFactorPartners

PARTNER_RULES: dict[str, type[PartnerRule]] = {
    "mined": MinedPartners,
    "nearest": NearestPartners,
    "label": LabelPartners,
    "one_factor": OneFactorPartners,
    "independent": IndependentPartners,
}

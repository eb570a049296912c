"""How much data, how similar: which way of using a pretrained net is best for a user's own pictures."""

from videre.studies.transfer.study import Study, transfer

__all__ = ["Study", "transfer"]

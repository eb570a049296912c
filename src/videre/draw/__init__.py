"""Pictures worth looking at: scenes on their pictures, truth beside prediction, sheets, charts and pages."""

from videre.draw.pair import draw_pair
from videre.draw.scene import draw_scene
from videre.draw.sheet import contact_sheet, draw_sheet
from videre.draw.targets import draw_mask_targets

__all__ = ["contact_sheet", "draw_mask_targets", "draw_pair", "draw_scene", "draw_sheet"]

"""Our operators that an exported graph may call; importing this registers them with torch."""

import videre.ops.decode_keypoints
import videre.ops.nms
import videre.ops.paste_masks
import videre.ops.roi_align  # noqa: F401

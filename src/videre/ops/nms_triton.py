"""Non-maximum suppression on a GPU: the Triton kernels of nms.py.

Two steps. `_mask_kernel` compares every pair of boxes, sorted by falling score, in blocks of 64 x 64, and writes what it
finds as bits: a word for each row and block of 64 columns that are not better. `_keep_kernel`, one program, walks the
blocks of rows from best to worst, and has in its registers what is dropped so far: a block settles within itself by the
rule of the definition, then its rows that stay drop what they suppress in later blocks. No program reads what another
thread of it wrote to memory, and nothing waits for the GPU but the length of the result.

The words of a block of rows lie together, row after row, and a row has none of the blocks before its own. So they take
N² / 16 bytes: 25 MB for 20,000 boxes, 625 MB for 100,000.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._triton import STRICT, on_device

BITS = 64  # of a word of the mask
COLUMNS = 8  # compared at a time: more of them only take registers
WORDS = 16384  # of the mask that the second kernel reads at a time, at most 32 rows of them


def nms_triton(boxes: Tensor, scores: Tensor, iou_threshold: float, classes: Tensor | None) -> Tensor:
    """`videre.ops.nms.nms` for tensors on a GPU, the same to the bit."""
    n = boxes.shape[0]
    if n == 0:
        return boxes.new_empty(0, dtype=torch.int64)
    order = scores.argsort(descending=True, stable=True)
    corners = (boxes if boxes.dtype == torch.float64 else boxes.float())[order].T.contiguous()  # (4, N)
    labels = order if classes is None else classes.to(torch.int64)[order]
    # The largest number of the boxes' precision that is not above the threshold: the same comparison in one precision.
    limit = torch.tensor(iou_threshold, dtype=corners.dtype)
    if limit.item() > iou_threshold:
        limit = limit.nextafter(limit.new_full((), -1))
    threshold = corners.new_full((1,), limit.item())  # a tensor, since Triton takes Python's numbers as float32
    blocks = triton.cdiv(n, BITS)
    words = order.new_empty(BITS * blocks * (blocks + 1) // 2)
    keep = torch.empty(BITS * blocks, dtype=torch.uint8, device=boxes.device)
    with on_device(corners):
        how = {"BY_CLASS": classes is not None, "BITS": BITS, "COLUMNS": COLUMNS}
        _mask_kernel[(blocks, blocks)](corners, labels, threshold, words, n, **how, num_warps=2, **STRICT)
        wide = triton.next_power_of_2(blocks)
        rows, warps = max(min(WORDS // wide, 32), 1), max(min(wide // 64, 16), 1)
        _keep_kernel[(1,)](words, keep, blocks, BITS=BITS, WIDE=wide, ROWS=rows, num_warps=warps, **STRICT)
    return order[keep[:n].bool()]


@triton.jit(do_not_specialize=["n"])
def _mask_kernel(
    corners, labels, threshold, words, n, BY_CLASS: tl.constexpr, BITS: tl.constexpr, COLUMNS: tl.constexpr
):
    """corners (4, N) x1 y1 x2 y2 by falling score, labels (N) -> words: bit c of row r says that r suppresses c."""
    row_block, column_block = tl.program_id(1), tl.program_id(0)
    if row_block > column_block:
        return
    limit = tl.load(threshold)
    # Past the end lie boxes of no area, which neither drop a box nor are dropped.
    row = row_block * BITS + tl.arange(0, BITS)
    x1, y1, x2, y2 = _corners(corners, row, n)
    area = (x2 - x1) * (y2 - y1)
    word = tl.zeros((BITS,), tl.int64)
    for begin in range(0, BITS, COLUMNS):
        bit = begin + tl.arange(0, COLUMNS)
        column = column_block * BITS + bit
        left, top, right, bottom = _corners(corners, column, n)
        # A coordinate that is not a number makes the area so, whatever minimum and maximum do with it.
        width = tl.maximum(tl.minimum(x2[None, :], right[:, None]) - tl.maximum(x1[None, :], left[:, None]), 0.0)
        height = tl.maximum(tl.minimum(y2[None, :], bottom[:, None]) - tl.maximum(y1[None, :], top[:, None]), 0.0)
        intersection = width * height  # (COLUMNS, BITS)
        union = area[None, :] + ((right - left) * (bottom - top))[:, None] - intersection
        # Most pairs do not meet. 1 / 1 keeps them on the short path of the division, which is not for a dividend of 0.
        meet = intersection > 0
        intersection, union = tl.where(meet, intersection, 1.0), tl.where(meet, union, 1.0)
        if limit.dtype == tl.float64:
            iou = intersection / union
        else:
            iou = tl.div_rn(intersection, union)
        beats = meet & (iou > limit) & (column[:, None] > row[None, :])
        if BY_CLASS:
            own, other = tl.load(labels + row, row < n, 0), tl.load(labels + column, column < n, 0)
            beats &= own[None, :] == other[:, None]
        word += tl.sum(beats.to(tl.int64) << bit[:, None].to(tl.int64), 0)
    tl.store(_row_words(words, row_block, tl.arange(0, BITS), tl.num_programs(0), BITS) + column_block, word)


@triton.jit
def _corners(corners, i, n):
    at = corners + i
    return (
        tl.load(at, i < n, 0),
        tl.load(at + n, i < n, 0),
        tl.load(at + 2 * n, i < n, 0),
        tl.load(at + 3 * n, i < n, 0),
    )


@triton.jit
def _row_words(words, block, row, blocks, BITS: tl.constexpr):
    """Where the words of rows (0 .. BITS - 1) of a block begin: that of column block j, from `block` on, is j further."""
    before = tl.cast(block, tl.int64)
    before = before * blocks - before * (before - 1) // 2  # words of one row in each of the blocks before
    return words + before * BITS + row * (blocks - block) - block


@triton.jit(do_not_specialize=["blocks"])
def _keep_kernel(words, keep, blocks, BITS: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr):
    """words as _mask_kernel wrote them -> keep (BITS * blocks) 0 or 1. Run by one program; WIDE is at least `blocks`."""
    lane = tl.arange(0, BITS)
    column = tl.arange(0, WIDE)
    dropped = tl.zeros((WIDE,), tl.int64)  # a word for each block
    for block in range(blocks):
        own = tl.load(_row_words(words, block, lane, blocks, BITS) + block)
        rest = ~tl.sum(tl.where(column == block, dropped, 0), 0)
        # Bits of the block's boxes that stay. As in the definition: from "all stay" until nothing changes.
        before = ~rest
        stay = rest
        while stay != before:
            before = stay
            stay = rest & ~tl.reduce(tl.where(((before >> lane) & 1) != 0, own, 0), 0, _either)
        tl.store(keep + block * BITS + lane, ((stay >> lane) & 1).to(tl.uint8))
        for begin in range(0, BITS, ROWS):
            row = begin + tl.arange(0, ROWS)
            read = (((stay >> row) & 1) != 0)[:, None] & ((column > block) & (column < blocks))[None, :]
            at = _row_words(words, block, row, blocks, BITS)[:, None] + column[None, :]
            dropped |= tl.reduce(tl.load(at, read, 0), 0, _either)


@triton.jit
def _either(a, b):
    return a | b

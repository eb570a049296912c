"""Operators on tensors: one a file, the torch definition and its fast CPU kernel together.

Convention, for all: coordinates are continuous pixels, the origin is the top-left corner of the top-left pixel, boxes
are xyxy with right and bottom edges excluded, sizes are (height, width).

Irregular operators (nms, soft_nms, roi_align, roi_pool, crop_masks, paste_masks, decode_keypoints) are `torch.library`
custom operators, so that models that use them compile and export in one graph: tensors on the CPU go to a Numba kernel
(float32 and float64), those of nms and roi_align on a GPU to a Triton kernel, all others, and all where Numba or Triton
is not installed, to the torch definition. Box algebra is plain torch, so that a compiler fuses it. Run lengths and
polygons (rle, rasterise) belong to data loading, and what finds proposals without a net (graph_segmentation, group_regions,
edge_boxes, bing) to preparing data: plain functions on the CPU, serial, with the interpreter lock released, safe in threads and
in forked workers. The kernels of roi_align, roi_pool, crop_masks, paste_masks and decode_keypoints use all of torch's threads:
never call those in a forked worker.
"""

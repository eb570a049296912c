"""The blocks world: pictures and clips of solids on a plane, rendered here and now, with every kind of truth.

    picture, truth = render(seed=0, index=7, size=(480, 640))
    clip = render_clip(seed=0, index=7, seconds=4)
    data = blocks_dataset(count=1000, seed=0)

The same (seed, index, size, solids) gives the same pixels and words, on any number of threads.
"""

from videre.data.blocks.clips import BlocksClip, Happening, render_clip
from videre.data.blocks.pictures import render, truth_of
from videre.data.blocks.scenes import BlocksSource, blocks_clips, blocks_dataset, blocks_schema, to_clip_scene, to_scene
from videre.data.blocks.truth import Truth

__all__ = [
    "BlocksClip",
    "BlocksSource",
    "Happening",
    "Truth",
    "blocks_clips",
    "blocks_dataset",
    "blocks_schema",
    "render",
    "render_clip",
    "to_clip_scene",
    "to_scene",
    "truth_of",
]

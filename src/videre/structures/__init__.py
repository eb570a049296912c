"""The nouns: what goes in and what comes out, for every task."""

from videre.structures.affine import Affine, invert
from videre.structures.box3d import Box3D
from videre.structures.camera import Camera
from videre.structures.categories import VOC_PIXELS, Categories, palette
from videre.structures.clip import AnyClip, Clip
from videre.structures.fields import entry
from videre.structures.image_batch import ImageBatch
from videre.structures.instances import Instances
from videre.structures.kinds import Kind, Renaming
from videre.structures.masks import Masks, Polygons
from videre.structures.mesh import Mesh
from videre.structures.preprocess import Preprocess
from videre.structures.ragged import Ragged
from videre.structures.relations import Event, Relations, Situation
from videre.structures.scene import VOID, Scene
from videre.structures.schema import Schema
from videre.structures.skeleton import COCO_PERSON, Skeleton
from videre.structures.tiling import Tiling
from videre.structures.tokenizer import SubwordTokenizer, Tokenizer, WordTokenizer
from videre.structures.vocabulary import Vocabulary

__all__ = [
    "COCO_PERSON",
    "VOC_PIXELS",
    "VOID",
    "Affine",
    "AnyClip",
    "Box3D",
    "Camera",
    "Categories",
    "Clip",
    "Event",
    "ImageBatch",
    "Instances",
    "Kind",
    "Masks",
    "Mesh",
    "Polygons",
    "Preprocess",
    "Ragged",
    "Relations",
    "Renaming",
    "Scene",
    "Schema",
    "Situation",
    "Skeleton",
    "SubwordTokenizer",
    "Tiling",
    "Tokenizer",
    "Vocabulary",
    "WordTokenizer",
    "entry",
    "invert",
    "palette",
]

"""From an image file to the tensor a backbone reads."""

from bench.images.decoding import DRAFT_MARGIN as DRAFT_MARGIN
from bench.images.decoding import decode as decode
from bench.images.decoding import decode_layers as decode_layers
from bench.images.decoding import load as load
from bench.images.formats import MAX_PIXELS as MAX_PIXELS
from bench.images.formats import SUFFIXES as SUFFIXES
from bench.images.formats import is_image as is_image
from bench.images.formats import opened as opened
from bench.images.notices import counted as counted
from bench.images.refusal import named as named
from bench.images.tensors import transform as transform

"""YMIR: folders ``images``, ``gt`` and ``pred`` side by side, with VOC XML in a dialect of its own.

Layout: https://github.com/modelai/ymir (``images`` or ``JPEGImages``, ``gt`` or ``annotations``, ``pred``, each flat).

What lies in ``gt`` is ground truth, whatever its ``confidence`` (which stays in ``attributes``); what lies in ``pred``
is a prediction with the ``confidence`` as its score, also where there is none. ``cks`` and ``image_quality`` are the
image's tags; ``tags``, ``box_quality``, ``rotate_angle`` and ``cm`` stay in ``attributes``. ``labels.yaml`` gives the
order of the classes and their aliases; ``pred/meta.yaml`` is kept as notes. An image without an XML has no objects.

YMIR's corners are the first and the last pixel inside a box: width = xmax - xmin + 1. An XML is taken so when it holds
an element that only YMIR writes; one from another tool has edges for corners (see ``voc``), wherever it lies.

Written is the same layout. It cannot hold ``crowd``, scores of the ground truth, attributes other than those above,
tags whose names are no XML names, and folders in image names.
"""

from components.shared.formats.base import Format
from components.shared.formats.tree import detector
from components.shared.formats.ymir_reader import read, recognise
from components.shared.formats.ymir_writer import write

detect = detector(recognise)


FORMAT = Format(
    name="ymir",
    describe="folders images, gt and pred with XML files, as YMIR imports them",
    detect=detect,
    read=read,
    write=write,
)

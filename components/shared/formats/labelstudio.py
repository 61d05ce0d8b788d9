"""Label Studio: a JSON list of tasks with annotations and predictions (https://labelstud.io/guide/export).

Read are the exports JSON and JSON-MIN and the files of a target storage, any number of them, with the labelling
configuration (``label_config.xml``) where it lies beside them: it gives the order of the classes and tells which data
are images. Without it classes are in alphabetical order.

Of several annotations of a task the one marked as ground truth counts, else the newest; a cancelled one never does, and
those that do not count are recorded. A task whose annotation is empty is an image without objects. A task nobody
finished keeps its image with the tag ``labelled: no``, so that a subset can leave it out. The newest prediction gives
annotations of kind ``prediction``.

Coordinates are percent of the image as the browser shows it, so EXIF orientation is applied and a wrong
``original_width`` does no harm. A rotated rectangle becomes its upright hull and keeps ``rotation`` (degrees,
clockwise, around its corner); a polygon becomes its hull and keeps ``segmentation_relative``; brush masks and key
points are no boxes and go to the ledger. Answers about a region are its attributes, answers about the image and the
task's other short data are the image's tags.

The writer's ``tasks.json`` names images as ``/data/local-files/?d=images/...``: serve the folder with
``LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true`` and ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`` set to it, paste
``label_config.xml`` into the project's labelling interface, and import ``tasks.json``.
"""

from components.shared.formats.base import Format
from components.shared.formats.labelstudio_reader import read, recognise
from components.shared.formats.labelstudio_writer import write
from components.shared.formats.tree import detector

detect = detector(recognise)


FORMAT = Format(
    name="labelstudio",
    describe="JSON exports of Label Studio",
    detect=detect,
    read=read,
    write=write,
)

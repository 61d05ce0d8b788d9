"""SageMaker Ground Truth: augmented manifests with bounding boxes, one JSON object a line.

Format: https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html ("Bounding Box Job Output").

Read is every ``*.manifest`` or ``*.jsonl`` with such a label, wherever it lies; its name or folder says the split.
The label attribute is found through the type in its ``-metadata``. Of several, ``label_attribute`` chooses, else each
line gives its newest, so the result of an adjustment job wins. The class maps of all lines are united and their order
is that of the ids. An image that a later verification job calls bad is rejected; one without boxes is kept. An
object's ``confidence`` is how much the annotators agreed, so it stays in ``attributes`` and the box is ground truth.

Images are looked for on disk by the end of their address; those that are not there keep it as ``uri``. Fields of the
user's own and the classes of classification jobs become the image's tags.

Written are ``images/`` and ``output.manifest``, or a ``<split>.manifest`` each. A manifest cannot hold predictions
(they are not written), scores, ``crowd``, ``difficult``, ``truncated``, attributes other than ``confidence``, and boxes
without a class or with sides that are no finite numbers.
"""

from components.shared.formats.base import Format
from components.shared.formats.groundtruth_lines import manifests
from components.shared.formats.groundtruth_reader import read
from components.shared.formats.groundtruth_writer import write
from components.shared.formats.tree import detector

detect = detector(lambda tree: bool(manifests(tree)))


FORMAT = Format(
    name="groundtruth",
    describe="a SageMaker Ground Truth manifest with bounding boxes",
    detect=detect,
    read=read,
    write=write,
)

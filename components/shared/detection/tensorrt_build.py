"""Build a TensorRT plan from an ONNX model, on the GPU it will run on; its bytes differ from one build to the next."""

from pathlib import Path

from components.shared.detection.contract import InputContract
from components.shared.detection.engines.libraries import import_library
from components.shared.errors import ArchiveError, ConfigError, in_one_line

WORKSPACE = 2 << 30  # bytes the builder may try its kernels with


def build_plan(model: Path, contract: InputContract) -> Path:
    """The plan beside the ONNX file, for one image of any size the contract allows, in full 32-bit floats.

    No test covers it where there is no GPU.

    Raises:
        ConfigError: TensorRT or a GPU is not here.
        ArchiveError: TensorRT cannot build the model.
    """
    library = import_library("tensorrt")
    if not import_library("torch").cuda.is_available():
        raise ConfigError("TensorRT builds on an NVIDIA GPU, and there is none here: leave 'tensorrt' out of runtimes.")
    messages = library.Logger(library.Logger.ERROR)
    builder = library.Builder(messages)
    network = builder.create_network(0)
    parser = library.OnnxParser(network, messages)
    if not parser.parse(model.read_bytes()):
        reason = in_one_line(ArchiveError(str(parser.get_error(0))), most=200)
        raise ArchiveError(f"TensorRT cannot read the model: {reason}.")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.clear_flag(library.BuilderFlag.TF32)  # its 10 bits of mantissa move boxes
    profile = builder.create_optimization_profile()
    most = (1, 3, contract.imgsz, contract.imgsz)
    least = most if contract.fit == "stretch" else (1, 3, contract.stride, contract.stride)
    profile.set_shape(network.get_input(0).name, least, most, most)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ArchiveError("TensorRT cannot build the model: use another runtime.")
    target = model.with_suffix(".engine")
    target.write_bytes(bytes(plan))
    return target

"""Take all of a running training's state, and put it back into a training that has just been set up.

What the library itself resumes from is less: averaged weights in half precision and fresh random numbers.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from components.model_train.trainers.ultralytics.random import random_states, restore_random_states
from components.model_train.trainers.ultralytics.snapshot import UltralyticsSnapshot
from components.shared.errors import CheckpointError, in_one_line

logger = logging.getLogger(__name__)


def capture(trainer: Any) -> UltralyticsSnapshot:  # noqa: ANN401 - ultralytics ships no types
    """A copy of everything that the next epoch depends on, in CPU memory.

    Args:
        trainer: a ``WatchedTraining`` at the end of an epoch.
    """
    model, dataset = _unwrapped(trainer.model), trainer.train_loader.dataset
    best = trainer.kept_best
    state = {
        "epoch": trainer.epoch + 1,
        "batch": int(trainer.batch_size),
        "processes": trainer.group.size,
        "classes": [str(trainer.data["names"][index]) for index in sorted(trainer.data["names"])],
        "optimizer_kind": type(trainer.optimizer).__name__,
        "model": model.state_dict(),
        "average": trainer.ema.ema.state_dict(),
        "average_updates": int(trainer.ema.updates),
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "criterion_updates": int(getattr(model.criterion, "updates", 0)),
        "best_fitness": _number(trainer.best_fitness),
        "fitness": _number(trainer.fitness),
        "metrics": {str(name): float(value) for name, value in trainer.metrics.items()},
        "loss_names": list(trainer.loss_names),
        "stopper": {"best_fitness": float(trainer.stopper.best_fitness), "best_epoch": int(trainer.stopper.best_epoch)},
        "random": random_states(),
        "loader": trainer.train_loader.generator.get_state(),
        "buffer": [int(index) for index in dataset.buffer],
        "cache": dataset.cache,
        "results": trainer.results,
        "seconds": trainer.seconds(),
    }
    held = {name: _held(value) for name, value in state.items()}
    return UltralyticsSnapshot({**held, "best": best.state() if best else None})  # whose tensors nobody changes


def _number(value: Any) -> float | None:  # noqa: ANN401 - a number of any kind
    return None if value is None else float(value)


def _held(value: Any) -> Any:  # noqa: ANN401 - any nesting of tensors and plain values
    """The same with every tensor copied to the CPU."""
    import torch  # noqa: PLC0415 - heavy

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _held(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_held(item) for item in value)
    return value


def _unwrapped(model: Any) -> Any:  # noqa: ANN401 - ultralytics ships no types
    from ultralytics.utils.torch_utils import unwrap_model  # noqa: PLC0415 - after the environment is prepared

    return unwrap_model(model)


def restore(trainer: Any, snapshot: UltralyticsSnapshot) -> None:  # noqa: ANN401 - ultralytics ships no types
    """Put a state back into a trainer whose model, optimiser and loaders are made and have done nothing yet.

    Random numbers and the order of images go on where they were when the images are loaded in this process; with
    loader processes (on a GPU) they go on from the saved generator, but those processes begin anew.

    Raises:
        CheckpointError: the state is another model's or optimiser's, or makes no sense.
    """
    state = snapshot.state
    model, average = _unwrapped(trainer.model), trainer.ema.ema
    _check_same_training(trainer, state)
    _check_same_tensors("weights", model.state_dict(), state["model"])
    _check_same_tensors("averaged weights", average.state_dict(), state["average"])
    sensibly(lambda: model.load_state_dict(state["model"]))
    sensibly(lambda: average.load_state_dict(state["average"]))
    sensibly(lambda: _restore_optimizer(trainer, state))
    sensibly(lambda: _restore_progress(trainer, state))
    sensibly(lambda: _restore_criterion(model, state["criterion_updates"]))
    if not trainer.group.many:  # several processes begin every epoch from its number
        sensibly(lambda: _restore_loader(trainer.train_loader, state))
        sensibly(lambda: restore_random_states(state["random"]))


def sensibly(put_back: Callable[[], object]) -> None:
    """Do what a corrupt state makes fail.

    Raises:
        CheckpointError: it failed.
    """
    try:
        put_back()
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint cannot be put back ({in_one_line(error, most=160)}): it is corrupt; resume from "
            "another, or train with resume=never."
        ) from error


def _check_same_training(trainer: Any, state: Mapping[str, Any]) -> None:  # noqa: ANN401 - same
    names = [str(trainer.data["names"][index]) for index in sorted(trainer.data["names"])]
    if state["classes"] != names:
        raise CheckpointError(
            f"The checkpoint learned the classes {state['classes']!r}, this training has {names!r}: resume the "
            "training it is of, or train with resume=never."
        )
    kind = type(trainer.optimizer).__name__
    if state["optimizer_kind"] != kind:
        raise CheckpointError(
            f"The checkpoint was trained with the optimizer {state['optimizer_kind']!r}, this training uses "
            f"{kind!r}: resume with the same, or train with resume=never."
        )
    for name, now in (("batch", int(trainer.batch_size)), ("processes", trainer.group.size)):
        if state[name] != now:
            logger.info("resumed with %s=%d instead of %d: the weights will differ", name, now, state[name])
    if state["cache"] != trainer.train_loader.dataset.cache:
        logger.info("images are cached otherwise than before the interruption: the weights will differ")


def _check_same_tensors(what: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    import torch  # noqa: PLC0415 - heavy

    for name in sorted({*here, *there}, key=str):
        shapes = [
            tuple(tensors[name].shape) if isinstance(tensors.get(name), torch.Tensor) else None
            for tensors in (here, there)
        ]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"The checkpoint's {what} are of another model: {name!r} has the shape {shapes[1]} there and "
                f"{shapes[0]} here; resume the training it is of, or train with resume=never."
            )


def _restore_optimizer(trainer: Any, state: Mapping[str, Any]) -> None:  # noqa: ANN401 - same
    import torch  # noqa: PLC0415 - heavy

    saved = state["optimizer"]
    for there, here in zip(saved["param_groups"], trainer.optimizer.param_groups, strict=True):
        there["fused"] = here.get("fused")  # this device chooses the kernel, not that one
    parameters = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    for index, values in saved["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameters[index].shape:
                raise ValueError(f"the optimizer's {name!r} has the shape {tuple(value.shape)}")
    trainer.optimizer.load_state_dict(saved)
    if state["scaler"] and trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict(state["scaler"])


def _restore_progress(trainer: Any, state: Mapping[str, Any]) -> None:  # noqa: ANN401 - same
    trainer.ema.updates = state["average_updates"]
    trainer.best_fitness, trainer.fitness = state["best_fitness"], state["fitness"]
    trainer.metrics = dict(state["metrics"])
    trainer.loss_names = tuple(state["loss_names"])
    trainer.stopper.best_fitness = float(state["stopper"]["best_fitness"])
    trainer.stopper.best_epoch = int(state["stopper"]["best_epoch"])
    trainer.results = state["results"]
    trainer.start_epoch = trainer.epoch = state["epoch"]


def _restore_criterion(model: Any, updates: int) -> None:  # noqa: ANN401 - same
    """The weights of a loss that shifts from one head to the other with the epochs."""
    if updates:
        model.criterion = model.init_criterion()
        model.criterion.updates = updates - 1
        model.criterion.update()


def _restore_loader(loader: Any, state: Mapping[str, Any]) -> None:  # noqa: ANN401 - same
    loader.generator.set_state(state["loader"])
    dataset = loader.dataset
    if dataset.cache == "ram" or loader.num_workers:
        return
    dataset.buffer.clear()
    for index in state["buffer"]:  # the images a mosaic is made of; loading one puts it there
        dataset.load_image(index)

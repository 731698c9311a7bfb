"""Checkpoints: trained parameters and the optimiser's momentum, as safetensors + JSON."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from protoanomalyncd.storage.files import read_json, write_json
from protoanomalyncd.storage.tensors import read_tensors, write_tensors

__all__ = ["load_checkpoint", "save_checkpoint"]

_STATE = "checkpoint.json"


def save_checkpoint(
    folder: Path, epoch: int, modules: dict[str, nn.Module], optimiser: torch.optim.SGD
) -> None:
    """Write the state after `epoch` epochs; the JSON comes last and names the tensors' file."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}/{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    for number, parameter in enumerate(_parameters(optimiser)):
        momentum = optimiser.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{number}"] = momentum
    name = f"checkpoint-{epoch % 2}.safetensors"
    write_tensors(folder / name, tensors)
    write_json(folder / _STATE, {"epoch": epoch, "file": name})


def load_checkpoint(folder: Path, modules: dict[str, nn.Module], optimiser: torch.optim.SGD) -> int:
    """Restore the last state; returns the number of finished epochs (0 = there is none)."""
    if not (folder / _STATE).is_file():
        return 0
    state = read_json(folder / _STATE)
    tensors = read_tensors(folder / str(state["file"]))
    for name, module in modules.items():
        prefix = f"{name}/"
        module.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
    for number, parameter in enumerate(_parameters(optimiser)):
        momentum = tensors.get(f"momentum/{number}")
        if momentum is not None:
            optimiser.state[parameter]["momentum_buffer"] = momentum.to(parameter.device)
    return int(state["epoch"])


def _parameters(optimiser: torch.optim.SGD) -> list[torch.Tensor]:
    return [p for group in optimiser.param_groups for p in group["params"]]

"""Models on disk: checkpoints and exported folders come back, released ones load, pickled modules do not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hlbgpt_core import scale
from hlbgpt_core.commands.model_files import build_model, read_model, write_model
from hlbgpt_core.errors import CheckpointError, SettingsError
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import initialise
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.checkpoint import Checkpointing
from hlbgpt_core.training.random_streams import SeededNormals
from hlbgpt_core.training.trainer import train
from tests.small_runs import Recorder, small_data, small_settings

CPU = torch.device("cpu")


def parameters_of(settings: Settings) -> dict[str, Tensor]:
    """Parameters of a new model."""
    settings = scale.resolve(settings)
    sizes = scale.sizes(settings)
    recipe = get_recipe(settings.recipe)(
        settings, vocab_size=sizes.vocab_size, tokens_per_microbatch=sizes.microbatch_tokens
    )
    initialise(recipe, SeededNormals(1))
    return {name: parameter.detach() for name, parameter in recipe.model.named_parameters()}


def released(settings: Settings) -> dict[str, Tensor]:
    """A state dict with the names of hlb-gpt's own checkpoints, in their number format."""
    return {f"net_dict.{name}": tensor.bfloat16() for name, tensor in parameters_of(settings).items()}


# What a state dict does not tell (heads, lengths) stays at its default.
RELEASED = Settings.from_dict({"depth": 2, "width": 128, "expand_factor": 3, "qk_dim_div": 4, "tokenizer": "bytes"})


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_a_checkpoint_goes_out_and_computes_what_the_trainer_did(recipe: str, tmp_path: Path) -> None:
    settings = small_settings(recipe, max_steps=3)
    reporter = Recorder()
    place = Checkpointing(state_folder=tmp_path, uid="a1b2", fence=1, every_seconds=1e9, keep_last=True)
    train(settings, small_data(), seed=5, device="cpu", reporter=reporter, checkpointing=place)
    (saved,) = reporter.saved
    file = read_model(tmp_path / saved.path)
    assert file.origin == {"step": 3, "seed": 5, "data_fingerprint": "made-up"}
    write_model(tmp_path / "out", file)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.safetensors", "settings.json"]
    again = read_model(tmp_path / "out")
    assert again.settings == file.settings == scale.resolve(settings) and again.origin == file.origin
    tokens = torch.arange(12).view(1, 12)
    with torch.no_grad():
        logits = [build_model(one, CPU)(tokens) for one in (file, again)]
    assert torch.equal(logits[0], logits[1]) and bool(torch.isfinite(logits[0]).all())


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_a_released_checkpoint_loads_by_its_shapes(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"released{ending}"
    save_file(released(RELEASED), path) if ending == ".safetensors" else torch.save(released(RELEASED), path)
    file = read_model(path)
    assert file.settings == scale.resolve(RELEASED)
    model = build_model(file, CPU)
    weight = dict(model.named_parameters())["attn_layers.1.expand"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, parameters_of(RELEASED)["attn_layers.1.expand"].bfloat16().float())


def test_settings_beside_a_file_say_what_shapes_do_not(tmp_path: Path) -> None:
    settings = Settings.from_dict({**RELEASED.to_dict(), "num_heads": 4, "linear_value": True})
    save_file(released(settings), tmp_path / "model.safetensors")
    (tmp_path / "settings.json").write_text(json.dumps({"tokenizer": "bytes", **settings.changed()}))
    assert read_model(tmp_path / "model.safetensors").settings == settings
    assert read_model(tmp_path).settings == settings
    (tmp_path / "settings.json").write_text(json.dumps({**settings.changed(), "num_heads": 5}))
    with pytest.raises(SettingsError, match="num_heads 5"):
        build_model(read_model(tmp_path), CPU)
    (tmp_path / "settings.json").write_text(json.dumps({**settings.changed(), "depth": 3}))
    with pytest.raises(CheckpointError, match=r"attn_layers\.2"):
        build_model(read_model(tmp_path), CPU)


class Trap:
    """What a malicious file would do when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path(self.path),)  # type: ignore[return-value]


def test_a_pickled_module_is_refused_unopened(tmp_path: Path) -> None:
    for number, whole in enumerate((torch.nn.Linear(2, 2), Trap(str(tmp_path / "sprung")))):
        torch.save(whole, tmp_path / f"{number}.pt")
        with pytest.raises(CheckpointError, match="more than tensors") as refused:
            read_model(tmp_path / f"{number}.pt")
        assert "state_dict()" in refused.value.hint
    assert not (tmp_path / "sprung").exists()
    torch.save({"step": 3, "model": {"a": torch.ones(1)}}, tmp_path / "nested.pt")
    with pytest.raises(CheckpointError, match="no state dict"):
        read_model(tmp_path / "nested.pt")


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "empty").mkdir()
    save_file({"other.weight": torch.ones(3, 3)}, tmp_path / "other.safetensors")
    for name, said in {
        "nothing": "no model at",
        "text.pt": "cannot be read",
        "text.safetensors": "cannot be read as safetensors",
        "empty": "holds no model",
        "other.safetensors": "does not say its settings",
    }.items():
        with pytest.raises(CheckpointError, match=said) as refused:
            read_model(tmp_path / name)
        assert name in refused.value.message


def test_an_altered_checkpoint_is_refused(tmp_path: Path) -> None:
    place = Checkpointing(state_folder=tmp_path, uid="a1b2", fence=1, every_seconds=1e9, keep_best=True)
    train(small_settings(max_steps=1), small_data(), seed=5, device="cpu", reporter=Recorder(), checkpointing=place)
    file = tmp_path / "checkpoints" / "a1b2" / "best" / "model.safetensors"
    assert read_model(file.parent).origin["step"] == 1
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_model(file.parent)


def test_an_export_goes_to_a_new_or_empty_folder_only(tmp_path: Path) -> None:
    save_file(released(RELEASED), tmp_path / "released.safetensors")
    file = read_model(tmp_path / "released.safetensors")
    (tmp_path / "empty").mkdir()
    write_model(tmp_path / "empty", file)
    for target in ("empty", "released.safetensors"):
        with pytest.raises(CheckpointError, match=target):
            write_model(tmp_path / target, file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "released.safetensors"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(released(RELEASED), tmp_path / "released.safetensors")
    file = read_model(tmp_path / "released.safetensors")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_model(tmp_path / "out", file)
    assert [path.name for path in tmp_path.iterdir()] == ["released.safetensors"]

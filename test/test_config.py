import dataclasses
import re

import pytest

from rosam_core.config import apply_override, from_mapping, load_config, to_yaml


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    steps: int = 5
    limits: tuple[float, float] = (0.0, 1.0)
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    minutes: float | None = None
    fast: bool = False


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str = "light"
    inner: Inner = dataclasses.field(default_factory=Inner)

    def __post_init__(self):
        if self.name == "bad":
            raise ValueError("no model named bad")


def write(folder, text):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_defaults_then_file_then_override(tmp_path):
    path = write(tmp_path, "inner:\n  rate: 3e-4\n  steps: 7\n")
    config = load_config(Outer, path, ["inner.steps=9", "inner.limits=[2, 3]", "name=resnet18"])
    assert config == Outer("resnet18", Inner(3e-4, 9, (2.0, 3.0)))


def test_an_empty_file_is_the_defaults(tmp_path):
    assert load_config(Outer, write(tmp_path, "# nothing\n")) == Outer()


def test_saved_text_reads_back_the_same(tmp_path):
    config = Outer("x", Inner(weights={"night": 2.0}, minutes=1.5, fast=True))
    assert load_config(Outer, write(tmp_path, to_yaml(config))) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inner.stepps=3", "unknown key 'inner.stepps'; did you mean 'inner.steps'?"),
        ("iner.steps=3", "unknown key 'iner'; did you mean 'inner'?"),
        ("zzz=3", "unknown key 'zzz'; known:"),
        ("inner.steps=many", "'inner.steps' must be int, got 'many'"),
        ("inner.steps=1.5", "'inner.steps' must be int, got 1.5"),
        ("inner.fast=1", "'inner.fast' must be bool, got 1"),
        ("inner.limits=[1]", "'inner.limits' must be tuple"),
        ("inner.rate=true", "'inner.rate' must be float, got True"),
        ("inner=3", "'inner' must be Inner, got 3"),
        ("name.sub=3", "name is a value, not a section"),
        ("inner.steps", "is not of the form key=value"),
        ("inner.steps=[", "the value is not YAML"),
        ("name=bad", "no model named bad"),
    ],
)
def test_wrong_keys_and_values(tmp_path, override, message):
    path = write(tmp_path, "name: light\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        load_config(Outer, path, [override])


def test_a_missing_or_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no recipe at"):
        load_config(Outer, tmp_path / "absent.yaml")
    with pytest.raises(ValueError, match="is not YAML"):
        load_config(Outer, write(tmp_path, "a: [1"))
    with pytest.raises(ValueError, match="not a mapping"):
        load_config(Outer, write(tmp_path, "- 1\n"))


def test_null_is_none_only_where_none_is_allowed():
    assert from_mapping(Inner, {"minutes": None}).minutes is None
    with pytest.raises(ValueError, match="'steps' must be int, got None"):
        from_mapping(Inner, {"steps": None})


@dataclasses.dataclass(frozen=True)
class Named:
    name: str = ""
    folder: str | None = None
    rate: float = 0.0


@pytest.mark.parametrize("text", ["2011_09_26", "0012", "1.10", "2011-09-26", "12", "1e3", "0x10"])
def test_a_name_of_digits_stays_as_it_was_typed(tmp_path, text):
    (tmp_path / "a.yaml").write_text("rate: 1")
    found = load_config(Named, tmp_path / "a.yaml", [f"name={text}", f"folder={text}"])
    assert (found.name, found.folder) == (text, text)
    given = ["rate=1_000.5", "folder=null"]
    assert load_config(Named, tmp_path / "a.yaml", given) == Named("", None, 1000.5)


def test_override_makes_the_sections_it_needs():
    values = {}
    apply_override(values, "a.b.c=1")
    assert values == {"a": {"b": {"c": 1}}}

import pytest
import torch
from pydantic import ValidationError

from calligram.dalle.sampling import SamplingConfig, sample
from calligram.dalle.sampling.reading import Reading

FIELDS = {
    "temperature": 3.0,
    "top_k": 2,
    "top_p": 0.3,
    "min_p": 0.5,
    "guidance": 4.0,
    "guidance_schedule": "cosine",
    "guidance_interval": (0.0, 0.5),
}
SPEED = {"decoding": "jacobi", "jacobi_window": 3, "weights": "int8", "step": "fast"}


def test_llamagen_flags_that_are_parsed_and_do_nothing(dalle, text):
    """Every field changes the picture, but for those of speed, and no field is left out here."""
    assert FIELDS.keys() | SPEED.keys() == set(SamplingConfig.model_fields)
    base = SamplingConfig(guidance=3.0)
    texts, seeds = text.repeat(4, 1), range(12)
    plain = sample(dalle, texts, seeds, base)
    for field, value in FIELDS.items():
        changed = sample(dalle, texts, seeds, base.model_copy(update={field: value}))
        assert not torch.equal(changed, plain), field


def test_the_fields_of_speed_change_the_passes(dalle, text, monkeypatch):
    readings = []
    original = Reading.__init__
    monkeypatch.setattr(Reading, "__init__", lambda self, *args: readings.append(self) or original(self, *args))
    for fields in ({}, {"decoding": "jacobi", "jacobi_window": 9}, {"decoding": "jacobi", "jacobi_window": 2}):
        sample(dalle, text[:1], [0], SamplingConfig(temperature=0.2, **fields))
    passes = [reading.num_passes for reading in readings]
    assert passes[0] == 9 and passes[1] < passes[2] < 9, passes


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"guidance": -1},
        {"guidance_schedule": "sine"},
        {"guidance_interval": (0.5, 0.5)},
        {"guidance_interval": (0.0, 1.5)},
        {"jacobi_window": 1},
        {"weights": "int4"},
        {"top": 1},
    ],
)
def test_wrong_configs_are_refused(fields):
    with pytest.raises(ValidationError):
        SamplingConfig(**fields)


def test_configs_that_were_saved_before_read_as_they_did():
    saved = {"temperature": 0.8, "top_k": None, "guidance": 2.5}
    config = SamplingConfig.model_validate(saved)
    assert config.model_dump(exclude_defaults=True) == {"temperature": 0.8, "guidance": 2.5}
    assert SamplingConfig.model_validate_json(config.model_dump_json()) == config

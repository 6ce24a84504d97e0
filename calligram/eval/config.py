"""How much to evaluate on, and of what noise."""

from pydantic import BaseModel, ConfigDict, Field


class EvalConfig(BaseModel):
    """How much to evaluate on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = Field(default="test", description="split to evaluate on")
    holdout_split: str = Field(default="holdout", description="split of held-out combinations, where the data has one")
    max_samples: int = Field(default=10_000, ge=1, description="pictures of a split at most, for tasks that read")
    max_train_samples: int = Field(
        default=10_000, ge=2, description="pictures of the split train at most, for tasks that learn from features"
    )
    max_probe_classes: int = Field(
        default=100, ge=2, description="classes at most that a probe learns, the most frequent ones: its time grows so"
    )
    num_draws: int = Field(default=3, ge=1, description="draws of the few pictures a class that few-shot learns from")
    num_corrupted: int = Field(default=300, ge=1, description="pictures to damage in each of 21 ways")
    num_captions: int = Field(
        default=300, ge=3, description="captions to draw, or pictures, for tasks that take long for each"
    )
    num_drawings: int = Field(
        default=500, ge=2, description="captions to draw once each, for tasks that compare sets of pictures"
    )
    num_reference: int = Field(
        default=2000, ge=4, description="real pictures of the split at most that such a set is compared with"
    )
    num_variants: int = Field(default=8, ge=2, description="drawings of one caption, to see how much they differ")
    num_neighbours: int = Field(
        default=5000, ge=1, description="training pictures at most among which those nearest to drawings are looked for"
    )
    num_probe_pictures: int = Field(
        default=1000, ge=10, description="training pictures at most for the classifier on the decoder's features"
    )
    train_split: str = Field(default="train", description="split that the models were trained on")
    lpips: str | None = Field(
        default=None, description="file of torchvision's VGG-16 weights, for the perceptual distance of reconstructions"
    )
    num_candidates: int = Field(default=16, ge=1, description="pictures drawn of each caption, of which CLIP picks one")
    seed: int = Field(default=0, ge=0, description="of the drawings")

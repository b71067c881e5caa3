"""A training run so small that it takes seconds."""

import pytest

from bowerbird.training.config import FledglingConfig


@pytest.fixture
def tiny() -> FledglingConfig:
    return FledglingConfig.model_validate(
        {
            "threads": 1,
            "data": {"size": 64, "train": 12},
            "autoencoder": {
                "latent_channels": 4,
                "encoder_channels": (8, 8, 16, 16, 16),
                "decoder_channels": (8, 8, 16, 16, 16),
                "encoder_layers": (0, 1, 1, 1, 1),
                "decoder_layers": (0, 1, 1, 1, 1),
                "pictures": 6,
                "crop": 32,
                "batch": 2,
                "steps": 4,
            },
            "text": {"width": 16, "layers": 1, "heads": 2},
            "denoiser": {"channels": (16, 32), "head_width": 8, "groups": 8, "batch": 2, "steps": 4, "cooldown": 2},
            "motion": {"heads": 2, "max_frames": 16, "clips": 2, "batch": 1, "steps": 2, "cooldown": 1},
            "judge": {
                "side": 32,
                "width": 16,
                "channels": (8, 16),
                "text": {"width": 16, "layers": 1, "heads": 2},
                "batch": 16,
                "steps": 4,
                "pictures": 60,
                "examined": 24,
            },
            "classifier": {"side": 32, "channels": (8, 16), "batch": 4, "steps": 4, "pictures": 12, "examined": 12},
            "clip_classifier": {
                "side": 32,
                "channels": (8, 16),
                "batch": 2,
                "steps": 2,
                "clips": 3,
                "examined": 2,
                "workers": 1,
            },
        }
    )

"""What clips' captions say: the motion unless it is the usual one, the truth, in words that the tokenizer knows."""

from __future__ import annotations

import numpy as np
import pytest

from bowerbird.training.captions import POSE_PHRASES
from bowerbird.training.clip_captions import (
    MOTION_PHRASES,
    MOTION_WORDS,
    PLACELESS_PHRASES,
    clip_caption,
    clip_prompt,
    clip_vocabulary,
    plain_clip_prompt,
    usual_motion,
    usual_place,
)
from bowerbird.training.clips import MOTIONS, POSES_OF, Clip, clip_at
from bowerbird.training.scene import COMBINATIONS, Scene
from bowerbird.training.text import UNKNOWN, new_tokenizer

CLIPS = [clip_at(77, index, COMBINATIONS) for index in range(400)]


def motions_in(text: str) -> set[str]:
    """Every motion that one of its phrases or words names."""
    text = f" {text.replace(',', ' ').replace(':', ' ')} ".replace("  ", " ")
    found = set()
    for motion in MOTIONS:
        phrases = [*PLACELESS_PHRASES[motion], *MOTION_WORDS.get(motion, ())]
        phrases += [phrase for pose in POSES_OF[motion] for phrase in MOTION_PHRASES[motion, pose]]
        if any(f" {phrase.replace(',', '')} " in text for phrase in phrases if phrase != "flying"):
            found.add(motion)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_a_caption_names_the_motion_or_it_is_the_usual_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unsaid = 0
    for clip in CLIPS:
        text = clip_caption(clip, rng)
        named = motions_in(text)
        assert named <= {clip.motion}, text
        if not named:
            assert clip.motion == usual_motion(clip.scene.pose), text
            assert any(phrase in text for phrase in POSE_PHRASES[clip.scene.pose]) or " flying " in text, text
            unsaid += 1
    assert 0 < unsaid < len(CLIPS) / 4


def test_an_examination_prompt_names_motion_and_place_in_a_wording_that_is_not_taught() -> None:
    rng = np.random.default_rng(0)
    asked = {clip_prompt(clip, rng): clip for clip in CLIPS}
    for text, clip in asked.items():
        assert any(phrase in text for phrase in MOTION_PHRASES[clip.motion, clip.scene.pose]), text
        assert clip.scene.season in text or "fall" in text, text
    assert not asked.keys() & {clip_caption(clip, rng) for clip in CLIPS for _ in range(4)}


def test_a_place_is_left_out_only_where_it_is_the_usual_one() -> None:
    rng = np.random.default_rng(1)
    for clip in CLIPS:
        if clip.motion == "taking off" and clip.scene.pose != usual_place(clip.motion, clip.scene.species):
            assert " from " in clip_caption(clip, rng)


def test_every_word_is_known_and_those_of_stills_keep_their_ids() -> None:
    stills, clips = new_tokenizer(77), new_tokenizer(77, clip_vocabulary())
    rng = np.random.default_rng(0)
    unknown = clips.token_to_id(UNKNOWN)
    for clip in CLIPS:
        for text in (clip_caption(clip, rng), clip_prompt(clip, rng), plain_clip_prompt(clip)):
            assert unknown not in clips.encode(text).ids, text
    for word, number in stills.get_vocab().items():
        assert clips.token_to_id(word) == number
    assert {"flapping", "hopping", "taking", "turning", "still"} <= set(clip_vocabulary())


def test_the_plain_prompt_reads_like_a_sentence() -> None:
    clip = Clip(Scene("american robin", "perched", "winter"), "taking off")
    assert plain_clip_prompt(clip) == "an american robin taking off from a branch in winter"

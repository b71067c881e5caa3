"""Why a picture was not drawn, kept or labelled."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class DrawingFailed(BowerbirdError):
    """The model failed on this picture, and only on this one: numbers ran away, or the runtime gave up twice."""

    code = "drawing_failed"


class PictureLost(BowerbirdError):
    """A picture that a finished job names is not in the store, or not the one that was stored."""

    code = "picture_lost"
    final = True


class LabelFailed(BowerbirdError):
    """The origin of a picture could not be written into it; what is not labelled does not leave."""

    code = "label_failed"


class CertificateInvalid(BowerbirdError):
    """A certificate, key or trust anchor that is missing, unreadable, expired, or does not belong together."""

    code = "certificate_invalid"

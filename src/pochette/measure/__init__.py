"""What a model costs."""

from pochette.measure.profile import Profile, profile, profile_model

__all__ = ["Profile", "profile", "profile_model"]

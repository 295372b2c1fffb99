"""The SING auto-encoder of "Diet deep generative audio models" (Esling et al., DAFx 2020): sound to codes and back.

    audio -- windows of 1024, hop 256 -- rewrites -- code -- context of codes -- rewrites -- windows, added -- audio

Trained as a whole, it is played by its decoder: the controls are the code's numbers, and an hour of sound is a curve
through them. `encode` gives the codes of a live sound, hop by hop, and `resynthesise` takes a sound through both.

Deviations from the published code, with their reasons:
- Codes pass through tanh, so that a knob has a range, -1 to 1, which encoded sound never leaves.
- The even context of 6 has no middle: it lies 3 codes before and 2 after (SING's, of 9, lies 4 and 4).
- The loss is that of SING (`sound.log_spectral`), of sound to sound; a resynthesised sound comes as much later than its
  original as a context looks ahead, and one window's overlap: `delay_samples`.
- Convolutions are written as matrices, see `layers.overlap`: the same parameters, drawn from the same distributions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.families import models
from pochette.layers.overlap import HOP_SAMPLES, OVERLAP, WINDOW_SAMPLES, FrameDecoder, FrameEncoder
from pochette.models.model import Excerpt, State
from pochette.models.through import Listener
from pochette.recipe import check_ranges
from pochette.sound.log_spectral import FFT_SAMPLES, LogSpectral, log_power

Size = Literal["tiny", "small", "paper"]


@models.member("sing-ae")
@dataclass(frozen=True)
class SingAe:
    """Auto-encoder of overlapping windows, played by the numbers of its code (Esling et al. 2020)."""

    channels: int = 192
    """Width of encoder and decoder."""
    code: int = 16
    """Numbers a frame between encoder and decoder; each is a control."""
    context: int = 6
    """Codes that one window of sound is made from."""
    rewrites: int = 1
    """Layers of width 1 in the encoder, and as many in the decoder."""
    sample_rate_hz: int = 16000
    """Samples per second; windows are 1024 samples long at any rate."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"channels": 24, "code": 4, "context": 3, "rewrites": 1},
        "small": {"channels": 192, "code": 16, "context": 6, "rewrites": 1},
        "paper": {"channels": 2048, "code": 16, "context": 6, "rewrites": 2},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            channels=(1, 16384),
            code=(1, 256),
            context=(1, 64),
            rewrites=(0, 16),
            sample_rate_hz=(4000, 384000),
        )

    @classmethod
    def sized(cls, size: Size = "small", **changes: int) -> SingAe:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is that of the published code.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)

    def build(self) -> SingAeModel:
        """The model with fresh weights, drawn from torch's generator."""
        return SingAeModel(self)


class SingAeNetwork(nn.Module):
    """The learnt part: both halves of the auto-encoder.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: SingAe) -> None:
        super().__init__()
        self.encoder = FrameEncoder(recipe.channels, recipe.rewrites, recipe.code)
        self.decoder = FrameDecoder(recipe.code, recipe.channels, recipe.context, recipe.rewrites)

    def encode(self, audio: Tensor) -> Tensor:
        """Codes of a sound, -1 to 1; see `FrameEncoder.forward`."""
        return torch.tanh(self.encoder(audio))


class SingAeModel(Listener):
    """The auto-encoder as a playable model: its code in, sound out.

    Args:
        recipe: sizes and rate.
    """

    hop_samples = HOP_SAMPLES

    split_by = "sound"

    def __init__(self, recipe: SingAe) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        # A changed code has replaced the old one everywhere once it has passed through the context, and every window
        # that was made with the old one has ended.
        self.latency_samples = (recipe.context + OVERLAP - 2) * HOP_SAMPLES
        self.network = SingAeNetwork(recipe)
        self.distance = LogSpectral()

    @property
    def controls(self) -> tuple[Control, ...]:  # type: ignore[override]
        """A knob for each number of the code; as many as the encoder still says, since trimming may remove some."""
        says = "one number of the code: what it does, training decides"
        numbers = range(1, len(self.network.encoder.head.weight) + 1)
        return tuple(Control(f"code_{number}", "", -1.0, 1.0, 0.0, "linear", says) for number in numbers)

    @property
    def delay_samples(self) -> int:
        """How much later than a sound, encoded as it is heard, its resynthesis comes."""
        return (self.network.decoder.ahead + OVERLAP - 1) * HOP_SAMPLES

    @torch.no_grad()
    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """Silence: it was encoded until now, and no window still sounds; see `Model.initial_state`."""
        decoder = self.network.decoder
        silence = self.network.encode(torch.zeros(1, WINDOW_SAMPLES, device=self.device))
        return {
            "codes": silence.repeat(batch, decoder.context - 1, 1),
            "tail": decoder.initial_tail(batch),
        }

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some codes; see `Model.advance`."""
        decoder = self.network.decoder
        codes = torch.cat([state["codes"], controls], dim=1)
        audio, tail = decoder(codes, state["tail"])
        return audio, {"codes": codes[:, controls.shape[1] :], "tail": tail}

    def initial_history(self, batch: int) -> State:
        """The samples of a window before the first hop; see `Listener.initial_history`."""
        return {"heard": torch.zeros(batch, WINDOW_SAMPLES - HOP_SAMPLES, device=self.device)}

    def encode(self, audio: Tensor, history: State) -> tuple[Tensor, State]:
        """Codes of a sound as it is heard: each is of the window that ends with its hop; see `Listener.encode`."""
        heard = torch.cat([history["heard"], audio], dim=1)
        return self.network.encode(heard), {"heard": heard[:, audio.shape[1] :]}

    def resynthesise(self, audio: Tensor) -> Tensor:
        """A sound through encoder and decoder, in step with the original; before and after it was silence.

        Args:
            audio: (batch, frame * HOP_SAMPLES).

        Returns:
            the same shape.
        """
        decoder = self.network.decoder
        before, after = (hops + OVERLAP - 1 for hops in (decoder.behind, decoder.ahead))
        padded = nn.functional.pad(audio, (before * HOP_SAMPLES, after * HOP_SAMPLES))
        return decoder.whole(self.network.encode(padded))

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Log-spectral distance of the resynthesised sound to the excerpt."""
        distance: Tensor = self.distance(self.resynthesise(excerpt["audio"]), excerpt["audio"])
        return distance

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """What trimming captures: all that is trained, encoder and decoder, on the shortest sound that meets both.

        Returns:
            a module that holds this model as `model`, and what to call it with.
        """
        return Resynthesis(self), (torch.zeros(1, 2 * HOP_SAMPLES),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """The excerpt's sound, and its log power spectra, (batch, bin, frame)."""
        return (excerpt["audio"],), log_power(excerpt["audio"], torch.hann_window(FFT_SAMPLES))


class Resynthesis(nn.Module):
    """An auto-encoder as a function of sound.

    Args:
        model: whose encoder and decoder.
    """

    def __init__(self, model: SingAeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor) -> Tensor:
        """See `SingAeModel.resynthesise`."""
        return self.model.resynthesise(audio)

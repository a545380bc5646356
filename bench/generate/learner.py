"""A network with all that changes while it learns to take noise out of images, and one step of that."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.files import sha256_text
from bench.generate.checkpoint import Stateful
from bench.generate.extra import diffusers, dtype_of, resolve_precision
from bench.generate.network import channels_of, network

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NOISE_LEVELS = 1000
CLIPPED = 1.0  # the largest norm of the gradient that is followed
#: The average follows the weights closely at first: its decay after n steps is 1 - (1 + n) ** -POWER, at most DECAY.
DECAY, POWER = 0.9999, 0.75


@dataclass(frozen=True)
class Settings:
    """What decides the weights, the images aside.

    schedule: of the learning rate after `warmup` steps, constant or cosine. flip: half of the images, drawn anew for
    each step, are mirrored. ema: the average of the weights is kept, and saved in the end.
    """

    resolution: int
    channels: tuple[int, ...]
    steps: int
    batch_size: int
    learning_rate: float
    schedule: str
    warmup: int
    ema: bool
    flip: bool
    seed: int
    device: str
    precision: str

    @classmethod
    def asked(
        cls,
        *,
        resolution: int,
        channels: str | None,
        steps: int,
        warmup: int | None,
        device: str,
        precision: str,
        **others: Any,
    ) -> "Settings":
        """With what was not asked for chosen: channels and warmup that are None, a precision that is auto.

        Raises UsageError as `channels_of` and `resolve_precision` do.
        """
        return cls(
            resolution=resolution,
            channels=channels_of(channels, resolution),
            steps=steps,
            warmup=min(500, steps // 10) if warmup is None else warmup,
            device=device,
            precision=resolve_precision(precision, device),
            **others,
        )


class Learner:
    """Learns from uint8 images [N, 3, R, R].

    All that a step draws follows from the seed and the step's number, so no state of a generator has to be kept.
    """

    def __init__(self, settings: Settings, images: "Tensor") -> None:
        import torch
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        self._settings, self._images = settings, images
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = network(settings.resolution, settings.channels).to(settings.device)
        self.noising = diffusers().DDPMScheduler(num_train_timesteps=NOISE_LEVELS)
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        kind = {"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule)
        self._schedule = get_scheduler(
            kind, self._optimiser, num_warmup_steps=settings.warmup, num_training_steps=settings.steps
        )
        self._kind = torch.device(settings.device).type
        self._scaler = torch.amp.GradScaler(self._kind, enabled=settings.precision == "fp16")
        self._average = None
        if settings.ema:
            self._average = EMAModel(self.network.parameters(), decay=DECAY, use_ema_warmup=True, power=POWER)
            self._average.to(settings.device)

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """All that a checkpoint keeps."""
        average = {} if self._average is None else {"average": self._average}
        always = {"optimiser": self._optimiser, "schedule": self._schedule, "scaler": self._scaler}
        return {"network": self.network, **average, **always}

    def step(self, number: int) -> float:
        """Learn from the batch of this number, counted from 0, and return its loss.

        Raises BenchError where that is no number any more.
        """
        import torch
        from torch.nn.functional import mse_loss

        images, noise, levels = (part.to(self._settings.device) for part in self._drawn(number))
        noisy = self.noising.add_noise(images, noise, levels)
        dtype = dtype_of(self._settings.precision)
        with torch.autocast(self._kind, dtype, enabled=dtype != torch.float32):
            predicted = self.network(noisy, levels).sample
        loss = mse_loss(predicted.float(), noise)
        self._follow(loss)
        told = float(loss.detach())
        if not math.isfinite(told):
            raise BenchError(
                f"the loss of step {number:,} is {told}: the training has failed, begin again with a lower "
                "--learning-rate and another --output"
            )
        return told

    def _follow(self, loss: "Tensor") -> None:
        import torch

        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.unscale_(self._optimiser)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIPPED)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        self._optimiser.zero_grad()
        if self._average is not None:
            self._average.step(self.network.parameters())

    def _drawn(self, number: int) -> tuple["Tensor", "Tensor", "Tensor"]:
        """Images of a batch in -1..1, noise of their shape, and how much of it each gets."""
        import torch

        settings, drawing = self._settings, _generator(self._settings.seed, f"step {number}")
        images = self._images[rows_of(number, settings.batch_size, len(self._images), settings.seed)]
        images = images.float().div_(127.5).sub_(1)
        noise = torch.randn(images.shape, generator=drawing)
        levels = torch.randint(NOISE_LEVELS, (len(images),), generator=drawing)
        if settings.flip:
            mirrored = torch.rand(len(images), generator=drawing) < 0.5
            images[mirrored] = images[mirrored].flip(-1)
        return images, noise, levels

    def finished(self) -> Any:
        """A pipeline with the average of the weights, or the weights where no average is kept."""
        if self._average is not None:
            self._average.copy_to(self.network.parameters())
        return diffusers().DDPMPipeline(unet=self.network, scheduler=self.noising)


def rows_of(number: int, batch_size: int, n_images: int, seed: int) -> "Tensor":
    """The images of a batch: all are used once, in an order of their own, before any is used again."""
    import torch

    places = range(number * batch_size, (number + 1) * batch_size)
    orders = {
        lap: torch.randperm(n_images, generator=_generator(seed, f"lap {lap}"))
        for lap in range(places[0] // n_images, places[-1] // n_images + 1)
    }
    return torch.stack([orders[place // n_images][place % n_images] for place in places])


def _generator(seed: int, purpose: str) -> "torch.Generator":
    import torch

    return torch.Generator().manual_seed(int(sha256_text(f"{seed} {purpose}")[:15], 16))

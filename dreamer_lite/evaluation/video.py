"""A video of the agent at play: reality alone, as the environment draws itself."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import gymnasium
import numpy as np
from PIL import Image
import torch

from ..agent import Dreamer
from ..errors import Refused
from ..files import replacing
from ..replay import Obs, obs_by_kind
from ..rng import seeded
from .drawing import save_gif
from .dreams import rendered
from .evaluate import evaluation_seed, matching_envs
from .rollout import rollout

GIF_RATE, GIF_SIDE = 25, 320  # most frames per second and pixels a side, since GIFs grow large
SEEN_SIDE = 256  # to about this many pixels a side, images that an agent sees are enlarged

Write = Callable[[np.ndarray], None]  # takes the next picture of a video, (H, W, 3) in bytes


@torch.no_grad()
def film(agent: Dreamer, path: Path, steps: int = 1000, seed: int = 0) -> tuple[int, float, bool]:
    """Film one fresh episode, or its first `steps` steps, at the environment's own speed.

    path: a .gif or .mp4. Returns the steps filmed, their return, and whether the episode ended. Raises Refused for
    another ending, where an MP4 lacks OpenCV, and for an environment that draws nothing if the agent sees no images.
    """
    recording, total, first = recording_for(path), 0.0, None
    path = path.absolute()  # the environment may change the current folder
    envs = matching_envs(agent, None, 1, seed, render=True)
    with closing(envs), seeded(agent.device, evaluation_seed(seed)), recording(path, frame_rate(envs.envs[0])) as write:
        for t, (step, _) in enumerate(rollout(agent, envs, steps + 1)):
            total += float(step.reward[0])
            frame = picture(envs.envs[0], step.obs)
            first = frame if first is None else first
            if frame.shape != first.shape:
                raise Refused(f"the environment draws {frame.shape} after {first.shape}; a video needs one size")
            write(frame)
            if step.is_last[0]:
                break
    return t, total, bool(step.is_last[0])


def recording_for(path: Path) -> Callable:
    """What records a video of this name, before anything is played."""
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise Refused(f"--video takes a file that ends in .gif or .mp4, got {path}")
    if path.suffix.lower() == ".gif":
        return gif
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise Refused(
            f'an MP4 needs OpenCV; install it: pip install "dreamer-lite[pixels]", or give a .gif, got {path}'
        ) from error
    return mp4


def frame_rate(env: gymnasium.Env) -> float:
    """Frames per second, as the environment declares them, or 30."""
    rate = (env.metadata or {}).get("render_fps")
    return float(rate) if isinstance(rate, (int, float)) and 0 < rate < 1000 else 30.0


def picture(env: gymnasium.Env, obs: Obs) -> np.ndarray:
    """What the environment renders now, or else the image that the agent sees, enlarged; (H, W, 3) in bytes."""
    frame, undrawn = rendered(env)
    if frame is None and "image" in (seen := obs_by_kind(obs)):
        image = seen["image"][0].cpu().numpy()
        frame = image.repeat(times := max(SEEN_SIDE // image.shape[0], 1), 0).repeat(times, 1)
        frame = frame if frame.shape[-1] == 3 else frame.mean(-1, keepdims=True).astype(np.uint8).repeat(3, -1)
    if frame is None:
        why = f"it fails to ({undrawn})" if undrawn else "it has no render_mode rgb_array"
        raise Refused(f"there is nothing to film: the agent sees no images, and the environment draws none: {why}")
    if frame.dtype != np.uint8 or frame.shape[-1] != 3:
        raise Refused(f"the environment draws {frame.dtype} of shape {frame.shape}; a video needs bytes, (H, W, 3)")
    return frame


@contextmanager
def gif(path: Path, rate: float) -> Iterator[Write]:
    """Inside, pictures are collected; they are written at the end."""
    pictures = []

    def write(picture: np.ndarray) -> None:
        image = Image.fromarray(picture)
        image.thumbnail((GIF_SIDE, GIF_SIDE))
        pictures.append(np.asarray(image))

    yield write
    every = int(-(-rate // GIF_RATE))
    kept = pictures[::every]
    times = [10 * round(100 * every * k / rate) for k in range(len(kept) + 1)]  # a GIF counts in hundredths of a second
    try:
        save_gif(kept, path, [after - before for before, after in zip(times, times[1:])])
    except OSError as error:
        raise Refused(f"{path} cannot be written ({error}); free some space, or choose another folder") from error


@contextmanager
def mp4(path: Path, rate: float) -> Iterator[Write]:
    """Inside, each picture is written at once, with the codec VP9, which browsers play."""
    import cv2

    video = cv2.VideoWriter()

    def write(picture: np.ndarray) -> None:
        if not video.isOpened():
            size = picture.shape[1], picture.shape[0]
            if not video.open(str(beside), cv2.VideoWriter_fourcc(*"vp09"), rate, size):
                raise Refused(f"OpenCV cannot write {path}, or has no codec VP9 here; give a .gif")
        video.write(picture[..., ::-1].copy())  # OpenCV has blue first

    with replacing(path) as beside:
        try:
            yield write
        finally:
            video.release()
        if not cv2.VideoCapture(str(beside)).read()[0]:  # OpenCV reports no error of writing
            raise Refused(f"{path} cannot be written: no frame of it can be read again; is the disk full?")
